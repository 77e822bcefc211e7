"""Training in processes of their own that die as in a power cut: by SIGKILL, at a moment of one's choice."""

from __future__ import annotations

import io
import os
import signal
from multiprocessing import get_context, set_start_method
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import torch

from edgeasr.train import checkpoint
from edgeasr.train.loop import train
from edgeasr.train.recipe import read_recipe
from edgeasr.train.run_log import CHECKPOINT, METRICS, RunLog

# A server that has imported torch forks them, so that each starts in no time.
_context = get_context("forkserver")
_context.set_forkserver_preload(["killed_runs"])


def start(recipe: Path, places: dict[str, Any], death: str = "", count: int = 0, **environment: str) -> BaseProcess:
    """Starts to train.

    Args:
        recipe: A recipe's file.
        places: Arguments of `train`.
        death: When to die: `within a checkpoint`, `before a checkpoint counts` or `within a line of metrics`.
        count: At which of these.
        environment: Variables that are set.
    """
    process = _context.Process(target=_train, args=(recipe, places, death, count, environment))
    process.start()
    return process


def _train(recipe: Path, places: dict[str, Any], death: str, count: int, environment: dict[str, str]) -> None:
    os.environ.update(environment)
    set_start_method("fork", force=True)  # of the loader's worker, as in a program that was started by hand
    left = count

    def due() -> bool:
        nonlocal left
        left -= 1
        return left == 0

    if death == "within a checkpoint":
        save = torch.save

        def half_save(value: Any, file: io.BufferedWriter) -> None:
            whole = io.BytesIO()
            save(value, whole)
            dying = due()
            file.write(whole.getvalue()[: len(whole.getvalue()) // (2 if dying else 1)])
            file.flush()
            if dying:
                _die()

        checkpoint.torch.save = half_save  # type: ignore[attr-defined]
    elif death == "before a checkpoint counts":
        replace = Path.replace

        def late_replace(self: Path, target: Path) -> Path:
            if Path(target).name == CHECKPOINT and due():
                _die()
            return replace(self, target)

        Path.replace = late_replace  # type: ignore[method-assign, assignment]
    elif death == "within a line of metrics":
        metrics = RunLog.metrics

        def half_metrics(self: RunLog, *, step: int, **values: float) -> None:
            metrics(self, step=step, **values)
            if due():
                path = places["run_dir"] / METRICS
                os.truncate(path, path.stat().st_size - 9)
                _die()

        RunLog.metrics = half_metrics  # type: ignore[method-assign]
    train(read_recipe(recipe), num_threads=1, **places)


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)
