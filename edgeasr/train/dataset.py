"""From manifests to batches: decoded clips on disk, a plan of batches per epoch, features computed when needed.

Everything about batch number n follows from the recipe's seed and n, so that a run can stop after any step and go
on as if it had not.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from edgeasr.config import LogMelConfig
from edgeasr.errors import ConfigError
from edgeasr.features import log_mel
from edgeasr.train.augment import Augmentation, Waveform
from edgeasr.train.clips import ClipStore, to_float
from edgeasr.train.manifest import Utterance, read_manifest

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Source:
    """A manifest and how often an epoch hears each of its clips (2.5: twice, and half of them a third time).

    One that is optional is left out, with a warning, where it is missing.
    """

    manifest: str
    repeat: float = 1.0
    optional: bool = False


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """What to train on, and how clips make batches. Manifests and folders are relative to the data folder."""

    sources: tuple[Source, ...]
    noise_dir: str | None = None
    batch_s: float = 180.0
    minimum_s: float = 0.3
    maximum_s: float = 17.0
    # Clips are joined to longer ones with this probability, with a pause between: the student learns to go on after
    # a pause, and short commands do not stand alone in a batch of short commands.
    join_probability: float = 0.3
    join_below_s: float = 6.0
    maximum_pause_s: float = 0.6
    augmentation: Augmentation = field(default_factory=Augmentation)


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Padded features (B, F, M), tokens one after the other (sum of lengths,), and the lengths of both."""

    features: Tensor
    feature_lengths: Tensor
    token_ids: Tensor
    token_lengths: Tensor
    audio_s: float


def encode_text(text: str, tokens: Sequence[str], word_delimiter: str) -> list[int]:
    """Token ids of a text of single characters, words separated by the delimiter.

    Raises:
        ConfigError: a character that the token table lacks.
    """
    index = {token: i for i, token in enumerate(tokens)}
    try:
        return [index[c] for c in text.replace(" ", word_delimiter)]
    except KeyError as error:
        raise ConfigError(f"text {text!r} has the character {error} that the token table lacks") from error


class Dataset:
    """The training set: yields batch number n, n + 1, ... for ever."""

    def __init__(
        self,
        config: DataConfig,
        *,
        frontend: LogMelConfig,
        tokens: Sequence[str],
        word_delimiter: str,
        chunk_frames: int,
        pad_value: float,
        data_dir: Path,
        cache_dir: Path,
        seed: int,
    ) -> None:
        self.config = config
        self.frontend = frontend
        self.chunk_frames = chunk_frames
        self.pad_value = pad_value
        self.seed = seed
        self.delimiter_id = tokens.index(word_delimiter)
        store = ClipStore(cache_dir, frontend.sample_rate)
        self.utterances: list[Utterance] = []
        self.clips: list[NDArray[np.int16]] = []
        self.token_ids: list[list[int]] = []
        self.repeats: list[float] = []
        for source in config.sources:
            if source.optional and not (data_dir / source.manifest).is_file():
                logger.warning("%s is not there and left out", data_dir / source.manifest)
                continue
            listed = [
                u
                for u in read_manifest(data_dir / source.manifest)
                if u.text and config.minimum_s <= u.duration_s <= config.maximum_s
            ]
            self.utterances += listed
            self.clips += store.load(Path(source.manifest).stem, [u.audio for u in listed])
            self.token_ids += [encode_text(u.text or "", tokens, word_delimiter) for u in listed]
            self.repeats += [source.repeat] * len(listed)
        noise_paths = sorted((data_dir / config.noise_dir).glob("*.opus")) if config.noise_dir else []
        self.noise = [to_float(clip) for clip in store.load("noise", noise_paths)] if noise_paths else []
        self.durations_s = np.array([clip.size / frontend.sample_rate for clip in self.clips])

    def batches(self, first: int) -> Iterator[Batch]:
        """Yields batches from number `first` on."""
        epoch, skip = 0, first
        while True:
            plan = self.plan(epoch)
            for number in range(min(skip, len(plan)), len(plan)):
                yield self.collate(plan[number], np.random.default_rng([self.seed, epoch, number]))
            skip = max(0, skip - len(plan))
            epoch += 1

    def plan(self, epoch: int) -> list[list[list[int]]]:
        """The batches of an epoch: each a list of items, each item one clip or several to be joined.

        The first epoch goes from short to long (Amodei et al. 2016), which shortens the time until CTC leaves its
        all-blank plateau; later ones are shuffled, with items of like length in a batch.
        """
        rng = np.random.default_rng([self.seed, epoch])
        repeats = np.asarray(self.repeats)
        counts = np.floor(repeats + rng.random(repeats.size)).astype(int)
        order = rng.permutation(np.repeat(np.arange(repeats.size), counts))
        items: list[list[int]] = []
        pending: list[int] = []
        for clip in order.tolist():
            joined_s = self.durations_s[[*pending, clip]].sum()
            if pending and joined_s > self.config.maximum_s:
                items.append(pending)
                pending = []
            pending.append(clip)
            short = self.durations_s[pending].sum() < self.config.join_below_s
            if not (epoch > 0 and short and rng.random() < self.config.join_probability):
                items.append(pending)
                pending = []
        if pending:
            items.append(pending)
        # Sorting by a noisy length keeps padding low and the batches of each epoch different.
        lengths = np.array([self.durations_s[item].sum() for item in items])
        items = [items[i] for i in np.argsort(lengths * rng.uniform(0.9, 1.1, lengths.size))]
        batches: list[list[list[int]]] = []
        batch: list[list[int]] = []
        longest = 0.0
        for item in items:
            item_s = float(self.durations_s[item].sum()) + 0.5
            if batch and max(longest, item_s) * (len(batch) + 1) > self.config.batch_s:
                batches.append(batch)
                batch, longest = [], 0.0
            batch.append(item)
            longest = max(longest, item_s)
        batches.append(batch)
        if epoch > 0:
            batches = [batches[i] for i in rng.permutation(len(batches))]
        return batches

    def collate(self, items: Sequence[Sequence[int]], rng: np.random.Generator) -> Batch:
        """Augments, computes features and pads to whole chunks with digital silence."""
        features, token_ids = [], []
        for item in items:
            waveform, ids = self.join(item, rng)
            augmented = self.config.augmentation.waveform(waveform, self.frontend.sample_rate, self.noise, rng)
            frames = log_mel(augmented, self.frontend)
            frames_per_s = self.frontend.sample_rate / self.frontend.hop_length
            features.append(self.config.augmentation.features(frames, frames_per_s, rng))
            token_ids.append(ids)
        longest = max(f.shape[0] for f in features)
        padded_length = -(-longest // self.chunk_frames) * self.chunk_frames
        padded = np.full((len(features), padded_length, self.frontend.num_mel_bins), self.pad_value, np.float32)
        for row, f in zip(padded, features, strict=True):
            row[: f.shape[0]] = f
        return Batch(
            features=torch.from_numpy(padded),
            feature_lengths=torch.tensor([f.shape[0] for f in features]),
            token_ids=torch.tensor([i for ids in token_ids for i in ids]),
            token_lengths=torch.tensor([len(ids) for ids in token_ids]),
            audio_s=sum(f.shape[0] for f in features) * self.frontend.hop_length / self.frontend.sample_rate,
        )

    def join(self, item: Sequence[int], rng: np.random.Generator) -> tuple[Waveform, list[int]]:
        """The clips of an item one after the other, at one level, with faint pauses between; and their tokens."""
        parts: list[Waveform] = []
        ids: list[int] = []
        for clip in item:
            waveform = to_float(self.clips[clip])
            if parts:
                level = max(float(np.abs(waveform).max(initial=0.0)), 1e-4)
                waveform = waveform * np.float32(min(float(np.abs(parts[0]).max(initial=0.0)) / level, 30.0))
                pause = rng.uniform(0, self.config.maximum_pause_s) * self.frontend.sample_rate
                parts.append(rng.standard_normal(int(pause), dtype=np.float32) * np.float32(1e-4))
                ids.append(self.delimiter_id)
            parts.append(waveform)
            ids += self.token_ids[clip]
        return (parts[0] if len(parts) == 1 else np.concatenate(parts)), ids

    def feature_statistics(self, num_clips: int = 500) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Mean and standard deviation per mel bin over a sample of augmented clips."""
        rng = np.random.default_rng([self.seed, num_clips])
        chosen = rng.choice(len(self.clips), min(num_clips, len(self.clips)), replace=False)
        frames = np.concatenate(
            [
                log_mel(
                    self.config.augmentation.waveform(
                        to_float(self.clips[i]), self.frontend.sample_rate, self.noise, rng
                    ),
                    self.frontend,
                )
                for i in chosen
            ]
        )
        return frames.mean(axis=0), frames.std(axis=0)
