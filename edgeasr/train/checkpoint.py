"""Checkpoints: all that a run needs to go on as if it had not been stopped, written whole or not at all."""

from __future__ import annotations

import dataclasses
import logging
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from edgeasr.errors import ConfigError
from edgeasr.train.distil import Distiller
from edgeasr.train.run_log import CHECKPOINT
from edgeasr.train.student import Student

if TYPE_CHECKING:
    from edgeasr.train.loop import Average
    from edgeasr.train.recipe import Recipe

logger = logging.getLogger(__name__)


def save_checkpoint(
    run_dir: Path,
    step: int,
    distiller: Distiller,
    average: Average,
    optimizers: list[torch.optim.Optimizer],
    recipe: Recipe,
) -> None:
    """Writes the checkpoint. The one before stays until all of it is on the disk."""
    checkpoint: dict[str, Any] = {
        "step": step,
        "recipe": dataclasses.asdict(recipe),
        "student": distiller.student.state_dict(),
        "heads": distiller.heads.state_dict(),
        "average": average.student.state_dict(),
        "average_updates": average.updates,
        "optimizers": [o.state_dict() for o in optimizers],
    }
    partial = run_dir / f"{CHECKPOINT}.partial"
    with partial.open("wb") as file:
        torch.save(checkpoint, file)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(run_dir / CHECKPOINT)


def load_weights(path: Path, student: Student) -> None:
    """Gives a student the averaged weights of a checkpoint, and the statistics of its features with them."""
    if not path.is_file():
        raise ConfigError(f"no checkpoint at {path}")
    try:
        student.load_state_dict(read_checkpoint(path, torch.device("cpu"))["average"])
    except RuntimeError as error:
        raise ConfigError(f"{path} holds a student of another shape than the recipe's: {error}") from error


def load_checkpoint(
    run_dir: Path,
    distiller: Distiller,
    average: Average,
    optimizers: list[torch.optim.Optimizer],
    recipe: Recipe,
    device: torch.device,
) -> int:
    """Restores the checkpoint in `run_dir`; returns its step, 0 if there is none."""
    path = run_dir / CHECKPOINT
    if not path.exists():
        return 0
    checkpoint = read_checkpoint(path, device)
    try:
        distiller.student.load_state_dict(checkpoint["student"])
        distiller.heads.load_state_dict(checkpoint.get("heads", {}))
        average.student.load_state_dict(checkpoint["average"])
    except RuntimeError as error:
        raise ConfigError(f"{path} holds a student or heads of another shape than the recipe's: {error}") from error
    average.updates = checkpoint["average_updates"]
    for optimizer, state in zip(optimizers, checkpoint["optimizers"], strict=True):
        optimizer.load_state_dict(state)
    changes = list(differences(checkpoint["recipe"], dataclasses.asdict(recipe)))
    if changes:
        logger.warning("the recipe has changed since step %d: %s", checkpoint["step"], "; ".join(changes))
    return int(checkpoint["step"])


def read_checkpoint(path: Path, device: torch.device) -> dict[str, Any]:
    """Reads a checkpoint.

    Raises:
        ConfigError: It is damaged.
    """
    try:
        checkpoint: dict[str, Any] = torch.load(path, map_location=device, weights_only=True)
    except Exception as error:  # what torch raises depends on where the damage is
        raise ConfigError(f"{path} is damaged: {str(error).splitlines()[0] if str(error) else error!r}") from error
    return checkpoint


def differences(before: Any, now: Any, where: str = "") -> Iterator[str]:
    """Tells which values of a recipe are others than they were; keys that only one of the two knows do not count."""
    if isinstance(before, Mapping) and isinstance(now, Mapping):
        for key in sorted(before.keys() & now.keys()):
            yield from differences(before[key], now[key], f"{where}.{key}" if where else key)
    elif isinstance(before, tuple) and isinstance(now, tuple) and len(before) == len(now):
        for place, (old, new) in enumerate(zip(before, now, strict=True)):
            yield from differences(old, new, f"{where}[{place}]")
    elif before != now:
        yield f"{where} was {before!r}, is {now!r}"
