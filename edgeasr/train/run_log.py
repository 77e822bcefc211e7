"""What a run writes down of itself in its folder, beside the checkpoint.

| file | what |
|---|---|
| `recipe.json` | the recipe, as it was read |
| `metrics.jsonl` | a line for every few steps (losses, norm of the gradient, learning rate, seconds of sound heard per second) and for each evaluation on the way |
| `cost.json` | for each session, from a start to its end or its death: steps, time, CPU time, sound heard, energy |
| `unreadable.jsonl` | sound files that were left out because they cannot be read |
| `dev.json` | what the student made of each clip of the development sets when it was last asked |
| `tensorboard/` | the metrics for TensorBoard, if the recipe wants it |
| `report.html` | all this as a page, see `report.py` |

After a crash the metrics behind the checkpoint are taken back, so that each step stands in the file once.
"""  # noqa: E501

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeasr.errors import ConfigError, MissingDependencyError
from edgeasr.files import write_whole
from edgeasr.train.cost import Cost
from edgeasr.train.evaluation.evaluate import Result, make_result
from edgeasr.train.manifest import Utterance

if TYPE_CHECKING:
    from edgeasr.train.recipe import Recipe

logger = logging.getLogger(__name__)

CHECKPOINT = "checkpoint.pt"
RECIPE = "recipe.json"
METRICS = "metrics.jsonl"
COST = "cost.json"
UNREADABLE = "unreadable.jsonl"
DEV = "dev.json"
TENSORBOARD = "tensorboard"


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What a student made of its development sets after a step, and whether these were all clips of the sets."""

    step: int
    whole: bool
    results: tuple[Result, ...]


class RunLog:
    """The files of a run; one process of several writes them."""

    def __init__(self, run_dir: Path, recipe: Recipe, *, step: int, num_processes: int = 1) -> None:
        """Goes on after a step; what is known of later ones is forgotten.

        Args:
            run_dir: The run's folder.
            recipe: What is trained.
            step: The last step that the checkpoint holds.
            num_processes: How many train together.

        Raises:
            MissingDependencyError: TensorBoard is not installed.
        """
        self._run_dir = run_dir
        # It forgets what it wrote after the step, too.
        self._writer = (
            tensorboard_writer()(str(run_dir / TENSORBOARD), purge_step=step + 1) if recipe.tensorboard else None
        )
        write_whole(run_dir / RECIPE, json.dumps(asdict(recipe), ensure_ascii=False, indent=1) + "\n")
        kept = [line for line in read_metrics(run_dir) if line["step"] <= step]
        write_whole(run_dir / METRICS, "".join(json.dumps(line) + "\n" for line in kept))
        self._sessions = read_sessions(run_dir)
        self._session: dict[str, Any] = {
            "started": datetime.now(UTC).isoformat(timespec="seconds"),
            "first_step": step,
            "processes": num_processes,
        }

    def metrics(self, *, step: int, **metrics: float) -> None:
        """Adds a line of metrics. Nine digits tell all float32 numbers apart."""
        rounded = {key: float(f"{value:.9g}") for key, value in metrics.items()}
        logger.info("step %d: %s", step, ", ".join(f"{key} {value:.5g}" for key, value in metrics.items()))
        with (self._run_dir / METRICS).open("a", encoding="utf-8") as file:
            file.write(json.dumps({"step": step, **rounded}) + "\n")
        if self._writer is not None:
            for key, value in rounded.items():
                self._writer.add_scalar(key.replace(" ", "/"), value, step)
            self._writer.flush()

    def cost(self, step: int, cost: Cost, heard_s: float) -> None:
        """Notes what this session has cost up to a step, and how many seconds of sound it has heard."""
        session = {**self._session, "last_step": step, "heard_s": round(heard_s, 3), **asdict(cost)}
        write_whole(self._run_dir / COST, json.dumps({"sessions": [*self._sessions, session]}, indent=1) + "\n")

    def results(self, step: int, results: Sequence[Result], *, whole: bool) -> None:
        """Keeps what the student made of clips after a step, and whether these were all clips of its sets."""
        clips = [
            {
                "set": result.set_name,
                **{key: value for key, value in asdict(result.utterance).items() if key != "text"},
                "audio": str(result.utterance.audio),
                "reference": result.reference,
                "hypothesis": result.hypothesis,
            }
            for result in results
        ]
        kept = {"step": step, "whole": whole, "clips": clips}
        write_whole(self._run_dir / DEV, json.dumps(kept, ensure_ascii=False, indent=0) + "\n")

    def unreadable(self, reasons: Mapping[Path, str]) -> None:
        """Lists the sound files that were left out, with the reasons."""
        rows = [{"audio": str(path), "reason": reason} for path, reason in reasons.items()]
        if rows:
            text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
            write_whole(self._run_dir / UNREADABLE, text)
        else:
            (self._run_dir / UNREADABLE).unlink(missing_ok=True)


def read_recipe_table(run_dir: Path) -> dict[str, Any]:
    """The recipe of a run, with all its keys. A run that was started before there was `recipe.json` has a checkpoint.

    Raises:
        ConfigError: There is no run in the folder.
    """
    path, checkpoint = run_dir / RECIPE, run_dir / CHECKPOINT
    table: dict[str, Any]
    if path.is_file():
        table = json.loads(path.read_text(encoding="utf-8"))
    elif checkpoint.is_file():
        import torch

        from edgeasr.train.checkpoint import read_checkpoint

        table = read_checkpoint(checkpoint, torch.device("cpu"))["recipe"]
    else:
        raise ConfigError(f"no run in {run_dir}: it has no {RECIPE}")
    return table


def read_metrics(run_dir: Path) -> list[dict[str, float]]:
    """The lines of metrics that are whole: of a run that was killed the last one may not be."""
    path = run_dir / METRICS
    lines = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else ():
        try:
            lines.append(json.loads(line))
        except ValueError:
            break
    return lines


def read_sessions(run_dir: Path) -> list[dict[str, Any]]:
    """What each session of a run has cost."""
    path = run_dir / COST
    sessions: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))["sessions"] if path.is_file() else []
    return sessions


def tensorboard_writer() -> Any:
    """The class that writes for TensorBoard.

    Raises:
        MissingDependencyError: TensorBoard is not installed.
    """
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise MissingDependencyError(
            "tensorboard = true in a recipe needs TensorBoard: pip install tensorboard"
        ) from error
    return SummaryWriter


def read_results(run_dir: Path) -> Measured | None:
    """What `RunLog.results` has kept; None if there is nothing."""
    path = run_dir / DEV
    if not path.is_file():
        return None
    kept: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    results = []
    for row in kept["clips"]:
        set_name, reference, hypothesis = row.pop("set"), row.pop("reference"), row.pop("hypothesis")
        utterance = Utterance(**{**row, "audio": Path(row["audio"]), "text": reference})
        results.append(make_result(set_name, utterance, reference=reference, hypothesis=hypothesis, cpu_s=0.0))
    return Measured(step=kept["step"], whole=kept["whole"], results=tuple(results))
