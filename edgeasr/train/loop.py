"""The training loop, on one page: batches in, averaged weights out, resumable after any checkpoint.

On more than one process it runs under `torchrun` (DistributedDataParallel); each process then takes every n-th batch.
"""

from __future__ import annotations

import dataclasses
import itertools
import logging
import math
import os
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
import torch.distributed
from torch import Tensor, nn
from torch.utils.data import DataLoader, IterableDataset

from edgeasr.train.checkpoint import load_checkpoint, load_weights, save_checkpoint
from edgeasr.train.cost import Meter
from edgeasr.train.dataset import Batch, Dataset
from edgeasr.train.development import development_sets, error_rates, evaluate
from edgeasr.train.distil import Distiller, make_lesson, side_losses
from edgeasr.train.losses import ctc_loss
from edgeasr.train.recipe import OptimizerConfig, Recipe
from edgeasr.train.report import write_report
from edgeasr.train.run_log import CHECKPOINT, RunLog, read_results, tensorboard_writer
from edgeasr.train.student import Student
from edgeasr.train.teachers.ensemble import ask_teacher
from edgeasr.train.teachers.teacher import load_teacher

logger = logging.getLogger(__name__)

# Told how many seconds of sound are done, of how many.
Progress = Callable[[float, float], None]


@dataclass(frozen=True, kw_only=True)
class StepReport:
    """How far a run has come.

    Attributes:
        step: The updates so far.
        steps: Those of the whole run.
        first_step: The updates before this session.
        loss: CTC on the transcripts of the last batch.
        heard_s: Seconds of sound that this session has heard, in all processes.
        wall_s: Seconds on the clock that it took.
    """

    step: int
    steps: int
    first_step: int
    loss: float
    heard_s: float
    wall_s: float


def train(
    recipe: Recipe,
    *,
    run_dir: Path,
    data_dir: Path,
    cache_dir: Path,
    num_threads: int | None = None,
    initial: Path | None = None,
    on_progress: Progress | None = None,
    on_step: Callable[[StepReport], None] | None = None,
) -> Student:
    """Trains a student, going on from the checkpoint in `run_dir` if there is one.

    Args:
        recipe: what to train.
        run_dir: gets `checkpoint.pt` and what `run_log` lists.
        data_dir: where the recipe's manifests are.
        cache_dir: gets the decoded clips, and what the teacher says of them.
        num_threads: of torch; its own default if None.
        initial: a new run starts from the averaged weights of this checkpoint.
        on_progress: told how many seconds of sound the teacher has heard, of how many that are new to it.
        on_step: told of each update, in the first process.

    Returns:
        The student with its averaged weights.

    Raises:
        ConfigError: The recipe, a manifest or a checkpoint is not what it should be.
        AudioFormatError: A clip cannot be read, and the recipe does not say to skip such clips.
        MissingDependencyError: A package that the recipe needs is not installed.
    """
    if num_threads:
        torch.set_num_threads(num_threads)
    if recipe.tensorboard:
        tensorboard_writer()  # complains now, not when the teacher has listened for hours
    meter = Meter()
    rank, world_size = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
    device = (
        torch.device("cuda", rank % torch.cuda.device_count()) if torch.cuda.is_available() else torch.device("cpu")
    )
    if world_size > 1:
        torch.distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")
    torch.manual_seed(recipe.seed)
    run_dir.mkdir(parents=True, exist_ok=True)

    dataset = make_dataset(recipe, data_dir, cache_dir, on_progress if rank == 0 else None)
    dev_sets = development_sets(recipe, data_dir, dataset.store) if rank == 0 else []
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
    step = first_step = load_checkpoint(run_dir, distiller, average, optimizers, recipe, device)
    model = nn.parallel.DistributedDataParallel(distiller) if world_size > 1 else distiller
    log = RunLog(run_dir, recipe, step=step, num_processes=world_size) if rank == 0 else None
    if log is not None:
        log.unreadable(dataset.store.unreadable)
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

        last = step == recipe.optimizer.steps
        if on_step is not None and rank == 0:
            on_step(
                StepReport(
                    step=step,
                    steps=recipe.optimizer.steps,
                    first_step=first_step,
                    loss=loss.item(),
                    heard_s=audio_s * world_size,
                    wall_s=time.monotonic() - started,
                )
            )
        if last or step % recipe.log_every_steps == 0:
            cost = meter.read()
            heard_s, cpu_s = sum_over_processes([audio_s, cost.cpu_s], device)
            if log is not None:
                log.metrics(
                    step=step,
                    loss=loss.item(),
                    side_loss=side_loss.item(),
                    norm=norm.item(),
                    rate=rate,
                    speed=heard_s / (time.monotonic() - started),
                    **{f"{name}_loss": value.item() for name, (_, value) in others.items()},
                )
                log.cost(step, dataclasses.replace(cost, cpu_s=cpu_s), heard_s)
        if log is not None and dev_sets and step % recipe.evaluation.every_steps == 0:
            results = evaluate(average.student, recipe, dev_sets, limit=recipe.evaluation.clips_per_manifest)
            log.metrics(step=step, **error_rates(results))
            log.results(step, results, whole=False)
        if log is not None and (last or step % recipe.checkpoint_every_steps == 0):
            save_checkpoint(run_dir, step, distiller, average, optimizers, recipe)

    if log is not None:
        measured = read_results(run_dir)
        if dev_sets and (measured is None or not measured.whole or measured.step != step):
            log.results(step, evaluate(average.student, recipe, dev_sets), whole=True)
        write_report(run_dir)
    if world_size > 1:
        torch.distributed.destroy_process_group()
    return average.student


def sum_over_processes(numbers: Sequence[float], device: torch.device) -> list[float]:
    """The sum of each number over all processes, which have to ask for it at the same step."""
    if not torch.distributed.is_initialized():
        return list(numbers)
    total = torch.tensor(numbers, dtype=torch.float64, device=device)
    torch.distributed.all_reduce(total)
    return total.tolist()


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
        unlabelled=bool(recipe.losses.taught or recipe.losses.average),
    )
    if recipe.teacher is not None and recipe.losses.taught:
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
