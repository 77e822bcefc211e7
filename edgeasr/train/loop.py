"""The training loop, on one page: batches in, averaged weights out, resumable after any checkpoint.

On more than one process it runs under `torchrun` (DistributedDataParallel); each process then takes every n-th batch.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import logging
import math
import os
import time
from collections.abc import Callable, Collection, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.distributed
from torch import Tensor, nn
from torch.utils.data import DataLoader, IterableDataset

from edgeasr.errors import ConfigError
from edgeasr.features import log_mel
from edgeasr.train.clips import read_audio, resample
from edgeasr.train.dataset import Batch, Dataset
from edgeasr.train.distil import Distiller, make_lesson, side_losses
from edgeasr.train.ensemble import ask_teacher
from edgeasr.train.losses import ctc_loss
from edgeasr.train.manifest import read_manifest
from edgeasr.train.recipe import OptimizerConfig, Recipe
from edgeasr.train.score import ErrorCounts, count_errors
from edgeasr.train.student import Student
from edgeasr.train.teacher import load_teacher

logger = logging.getLogger(__name__)

CHECKPOINT = "checkpoint.pt"
METRICS = "metrics.jsonl"

# Told how many seconds of sound are done, of how many.
Progress = Callable[[float, float], None]


def train(
    recipe: Recipe,
    *,
    run_dir: Path,
    data_dir: Path,
    cache_dir: Path,
    num_threads: int | None = None,
    initial: Path | None = None,
    on_progress: Progress | None = None,
) -> Student:
    """Trains a student, going on from the checkpoint in `run_dir` if there is one.

    Args:
        recipe: what to train.
        run_dir: gets `checkpoint.pt` and `metrics.jsonl`.
        data_dir: where the recipe's manifests are.
        cache_dir: gets the decoded clips, and what the teacher says of them.
        num_threads: of torch; its own default if None.
        initial: a new run starts from the averaged weights of this checkpoint.
        on_progress: told how many seconds of sound the teacher has heard, of how many that are new to it.

    Returns:
        The student with its averaged weights.
    """
    if num_threads:
        torch.set_num_threads(num_threads)
    rank, world_size = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
    device = (
        torch.device("cuda", rank % torch.cuda.device_count()) if torch.cuda.is_available() else torch.device("cpu")
    )
    if world_size > 1:
        torch.distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")
    torch.manual_seed(recipe.seed)
    run_dir.mkdir(parents=True, exist_ok=True)

    dataset = make_dataset(recipe, data_dir, cache_dir, on_progress if rank == 0 else None)
    student = Student(recipe.student)
    mean, deviation = dataset.feature_statistics()
    student.feature_mean.copy_(torch.from_numpy(mean))
    student.feature_scale.copy_(torch.from_numpy(1 / deviation))
    if initial is not None and not (run_dir / CHECKPOINT).exists():
        load_weights(initial, student)
    distiller = Distiller(student, recipe.losses, dataset.targets, recipe.tokens.tokens).to(device)
    hop_s = recipe.frontend.hop_length / recipe.frontend.sample_rate
    left_out: Collection[int] = ()
    if recipe.losses.readings and dataset.targets:
        sifted = recipe.losses.readings.sift(dataset.targets, dataset.transcribed)
        logger.info("%s", sifted)
        left_out = sifted.faults
    dataset.lesson = make_lesson(recipe.losses, dataset.targets, distiller, hop_s, left_out)
    average = Average(student, recipe.optimizer.ema_decay)
    optimizers = make_optimizers(student, distiller.heads, recipe.optimizer)
    step = load_checkpoint(run_dir, distiller, average, optimizers, device)
    model = nn.parallel.DistributedDataParallel(distiller) if world_size > 1 else distiller
    logger.info(
        "%s: %.2f M parameters, %d clips, %.1f h an epoch, from step %d of %d",
        recipe.name,
        sum(p.numel() for p in student.parameters()) / 1e6,
        len(dataset.clips),
        dataset.durations_s @ dataset.repeats / 3600,
        step,
        recipe.optimizer.steps,
    )

    started, audio_s = time.monotonic(), 0.0
    batches = iter(DataLoader(BatchStream(dataset, step, rank, world_size), batch_size=None, num_workers=1))
    while step < recipe.optimizer.steps:
        batch = next(batches)
        rate = learning_rate(recipe.optimizer, step)
        with torch.autocast(device.type, dtype=torch.bfloat16):
            heard = model(batch.features.to(device), student.initial_state(batch.features.shape[0]))
        lengths = -(-batch.feature_lengths // recipe.student.subsampling_factor)
        # Rows without a transcript learn from the teacher alone.
        known = slice(None) if batch.transcribed.all() else batch.transcribed
        targets = (lengths[known], batch.token_ids, batch.token_lengths[known])
        loss = ctc_loss(heard.log_probs[known], *targets, blank_id=recipe.tokens.blank_id)
        side_loss = ctc_loss(heard.intermediate[known], *targets, blank_id=recipe.tokens.blank_id)
        mixed = (1 - recipe.intermediate_weight) * loss + recipe.intermediate_weight * side_loss
        own = recipe.losses.average
        clean = batch.clean if own and own.at(step, recipe.optimizer.steps) > 0 else None
        others = side_losses(
            recipe.losses,
            heard,
            batch.to(device),
            lengths.to(device),
            blank_id=recipe.tokens.blank_id,
            teacher_blank_id=dataset.targets.blank_id if dataset.targets else 0,
            step=step,
            steps=recipe.optimizer.steps,
            average_log_probs=None if clean is None else average.listen(clean, len(batch.features)),
        )
        for weight, value in others.values():
            mixed = mixed + weight * value
        mixed.backward()  # type: ignore[no-untyped-call]
        norm = nn.utils.clip_grad_norm_(distiller.parameters(), recipe.optimizer.gradient_clip)
        for optimizer in optimizers:
            for group in optimizer.param_groups:
                group["lr"] = rate
            if norm.isfinite():
                optimizer.step()
            optimizer.zero_grad()
        average.update(student)
        step += 1
        audio_s += batch.audio_s

        if rank == 0 and step % recipe.log_every_steps == 0:
            speed = audio_s / (time.monotonic() - started)
            log_metrics(
                run_dir,
                step=step,
                loss=loss.item(),
                side_loss=side_loss.item(),
                norm=norm.item(),
                rate=rate,
                speed=speed,
                **{f"{name}_loss": value.item() for name, (_, value) in others.items()},
            )
        if rank == 0 and step % recipe.evaluation.every_steps == 0:
            log_metrics(run_dir, step=step, **evaluate(average.student, recipe, data_dir))
        if rank == 0 and (step % recipe.checkpoint_every_steps == 0 or step == recipe.optimizer.steps):
            save_checkpoint(run_dir, step, distiller, average, optimizers, recipe)
    return average.student


class BatchStream(IterableDataset[Batch]):
    """The batches of one process, from a step on; a DataLoader worker makes them ahead of time."""

    def __init__(self, dataset: Dataset, first_step: int, rank: int, world_size: int) -> None:
        self.dataset = dataset
        self.first = first_step * world_size + rank
        self.stride = world_size

    def __iter__(self) -> Iterator[Batch]:
        """Yields every `stride`-th batch."""
        return itertools.islice(self.dataset.batches(self.first), 0, None, self.stride)


class Average:
    """The exponential moving average of the weights, with a warm-up so that the start is forgotten."""

    def __init__(self, student: Student, decay: float) -> None:
        self.student = Student(student.config).to(student.feature_mean.device)
        self.student.load_state_dict(student.state_dict())
        self.student.requires_grad_(False).eval()
        self.decay = decay
        self.updates = 0

    @torch.no_grad()
    def listen(self, clean: Tensor, rows: int) -> Tensor:
        """Log-probs of clean clips, over and over for as many rows of views."""
        device = self.student.feature_mean.device
        with torch.autocast(device.type, dtype=torch.bfloat16):
            log_probs: Tensor = self.student(clean.to(device), self.student.initial_state(len(clean)))[0]
        return log_probs.repeat(rows // len(clean), 1, 1)

    @torch.no_grad()
    def update(self, student: Student) -> None:
        """Moves the average towards the student's weights."""
        self.updates += 1
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        torch._foreach_lerp_(list(self.student.parameters()), list(student.parameters()), 1 - decay)


def make_dataset(recipe: Recipe, data_dir: Path, cache_dir: Path, on_progress: Progress | None = None) -> Dataset:
    """The recipe's training set, and what its teacher, if it has one, says of the clips: what is new, it hears now."""
    dataset = Dataset(
        recipe.data,
        frontend=recipe.frontend,
        tokens=recipe.tokens.tokens,
        word_delimiter=recipe.tokens.word_delimiter,
        chunk_frames=recipe.student.chunk_feature_frames,
        pad_value=recipe.pad_value,
        data_dir=data_dir,
        cache_dir=cache_dir,
        seed=recipe.seed,
        unlabelled=recipe.teacher is not None,
    )
    if recipe.teacher is not None:
        dataset.targets = ask_teacher(
            recipe.teacher,
            dataset.clips,
            [utterance.text for utterance in dataset.utterances],
            recipe.frontend.sample_rate,
            tokens=recipe.tokens,
            load=partial(load_teacher, data=data_dir, tokens=recipe.tokens),
            data=data_dir,
            cache_dir=cache_dir,
            on_progress=on_progress,
        )
    return dataset


def make_optimizers(student: Student, heads: nn.Module, config: OptimizerConfig) -> list[torch.optim.Optimizer]:
    """Muon for the matrices inside the blocks; AdamW for the stem, the student's heads, norms and biases.

    The heads beside the student, where there are any, have an AdamW of their own.
    """
    matrices = [p for p in student.blocks.parameters() if p.ndim == 2]
    chosen = {id(p) for p in matrices}
    others = [p for p in student.parameters() if id(p) not in chosen]
    beside = list(heads.parameters())
    return [
        torch.optim.Muon(
            matrices,
            lr=config.learning_rate,
            weight_decay=config.weight_decay,
            momentum=config.muon_momentum,
            adjust_lr_fn="match_rms_adamw",
        ),
        *(
            torch.optim.AdamW(
                parameters,
                lr=config.learning_rate,
                betas=config.adam_betas,
                weight_decay=config.weight_decay,
                foreach=True,
            )
            for parameters in (others, beside)
            if parameters
        ),
    ]


def learning_rate(config: OptimizerConfig, step: int) -> float:
    """Linear warm-up, the peak, and half a cosine from the peak to the final rate over the last steps."""
    warm = min(1.0, (step + 1) / config.warmup_steps)
    progress = min(1.0, max(0.0, (step / config.steps - 1) / config.decay_share + 1))
    cosine = 0.5 * (1 + math.cos(math.pi * progress))
    return warm * (config.final_learning_rate + (config.learning_rate - config.final_learning_rate) * cosine)


@torch.no_grad()
def evaluate(student: Student, recipe: Recipe, data_dir: Path) -> dict[str, float]:
    """Greedy character error rate (%) on evenly spread clips of each manifest, in float32."""
    rates = {}
    for manifest in recipe.evaluation.manifests:
        counts = ErrorCounts()
        clips = [u for u in read_manifest(data_dir / manifest) if u.text]
        stride = max(1, len(clips) // recipe.evaluation.clips_per_manifest)
        for utterance in clips[::stride]:
            waveform = resample(*read_audio(utterance.audio), recipe.frontend.sample_rate)
            features = torch.from_numpy(log_mel(waveform, recipe.frontend))
            counts += count_errors(utterance.text or "", transcribe(student, features, recipe), unit="character")
        rates[f"cer {Path(manifest).stem}"] = 100 * counts.rate
    return rates


def transcribe(student: Student, features_FM: Tensor, recipe: Recipe) -> str:
    """Greedy text of one clip, all chunks in one call."""
    frames = features_FM.shape[0]
    pad = -frames % student.config.chunk_feature_frames
    padded = nn.functional.pad(features_FM, (0, 0, 0, pad), value=recipe.pad_value)
    device = student.feature_mean.device
    log_probs, _, _ = student(padded.unsqueeze(0).to(device), student.initial_state(1))
    best = log_probs[0, : -(-frames // student.config.subsampling_factor)].argmax(-1)
    ids = [i for i in torch.unique_consecutive(best).tolist() if i != recipe.tokens.blank_id]
    text = "".join(recipe.tokens.tokens[i] for i in ids)
    return " ".join(text.replace(recipe.tokens.word_delimiter, " ").split())


def log_metrics(run_dir: Path, **metrics: float) -> None:
    """Adds a line to the metrics file."""
    rounded = {key: round(value, 6) for key, value in metrics.items()}
    logger.info("%s", rounded)
    with (run_dir / METRICS).open("a", encoding="utf-8") as file:
        file.write(json.dumps(rounded) + "\n")


def save_checkpoint(
    run_dir: Path,
    step: int,
    distiller: Distiller,
    average: Average,
    optimizers: list[torch.optim.Optimizer],
    recipe: Recipe,
) -> None:
    """Writes the checkpoint whole or not at all."""
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
    torch.save(checkpoint, partial)
    partial.replace(run_dir / CHECKPOINT)


def load_weights(path: Path, student: Student) -> None:
    """Gives a student the averaged weights of a checkpoint, and the statistics of its features with them."""
    if not path.is_file():
        raise ConfigError(f"no checkpoint at {path}")
    try:
        student.load_state_dict(torch.load(path, map_location="cpu", weights_only=True)["average"])
    except RuntimeError as error:
        raise ConfigError(f"{path} holds a student of another shape than the recipe's: {error}") from error


def load_checkpoint(
    run_dir: Path,
    distiller: Distiller,
    average: Average,
    optimizers: list[torch.optim.Optimizer],
    device: torch.device,
) -> int:
    """Restores the checkpoint in `run_dir`; returns its step, 0 if there is none."""
    path = run_dir / CHECKPOINT
    if not path.exists():
        return 0
    checkpoint = torch.load(path, map_location=device, weights_only=True)
    try:
        distiller.student.load_state_dict(checkpoint["student"])
        distiller.heads.load_state_dict(checkpoint.get("heads", {}))
        average.student.load_state_dict(checkpoint["average"])
    except RuntimeError as error:
        raise ConfigError(f"{path} holds a student or heads of another shape than the recipe's: {error}") from error
    average.updates = checkpoint["average_updates"]
    for optimizer, state in zip(optimizers, checkpoint["optimizers"], strict=True):
        optimizer.load_state_dict(state)
    return int(checkpoint["step"])
