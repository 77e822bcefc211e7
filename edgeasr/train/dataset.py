"""From manifests to batches: decoded clips on disk, a plan of batches per epoch, features computed when needed.

Everything about batch number n follows from the recipe's seed and n, so that a run can stop after any step and go
on as if it had not.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, fields, is_dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from edgeasr.audio import AUDIO_SUFFIXES
from edgeasr.config import LogMelConfig
from edgeasr.errors import ConfigError
from edgeasr.features import log_mel
from edgeasr.train.augmentation.augment import Augmentation, Waveform
from edgeasr.train.augmentation.rooms import prepare_response
from edgeasr.train.augmentation.splice import Splice, SpliceSource
from edgeasr.train.clips import ClipStore, to_float
from edgeasr.train.losses import SoftLabels
from edgeasr.train.manifest import Utterance, read_manifest
from edgeasr.train.teachers.targets import Part, Targets

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Source:
    """A manifest and how often an epoch hears each of its clips (2.5: twice, and half of them a third time).

    One that is optional is left out, with a warning, where it is missing. Clips without a transcript have the one that
    `labels`, another manifest, gives for their id: `edgeasr label` writes it.
    """

    manifest: str
    repeat: float = 1.0
    optional: bool = False
    labels: str | None = None


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """What to train on, and how clips make batches. Manifests and folders are relative to the data folder.

    Clips that cannot be read end a run, or, with `skip_unreadable`, are left out and listed in its folder.
    """

    sources: tuple[Source, ...]
    noise_dir: str | None = None
    # Recorded impulse responses of rooms, in any format that can be read, for `augmentation.room`.
    room_dir: str | None = None
    skip_unreadable: bool = False
    batch_s: float = 180.0
    minimum_s: float = 0.3
    maximum_s: float = 17.0
    # Clips are joined to longer ones with this probability, with a pause between: the student learns to go on after
    # a pause, and short commands do not stand alone in a batch of short commands.
    join_probability: float = 0.3
    join_below_s: float = 6.0
    maximum_pause_s: float = 0.6
    # So many epochs go from short to long; none for a student that is trained already.
    curriculum_epochs: int = 1
    augmentation: Augmentation = field(default_factory=Augmentation)
    splice: Splice | None = None


@dataclass(frozen=True, kw_only=True)
class Readings:
    """A teacher's readings of the clips, in the student's tokens.

    Attributes:
        rows: The row of the batch that each belongs to (num_readings,).
        token_ids: One's tokens after the other's.
        token_lengths: (num_readings,).
        weights: Those of a row add up to 1 (num_readings,).
    """

    rows: Tensor
    token_ids: Tensor
    token_lengths: Tensor
    weights: Tensor


@dataclass(frozen=True, kw_only=True)
class TeacherBatch:
    """What the teacher says of a batch, in the student's frames (`Lesson` says which of it is wanted).

    Attributes:
        soft_labels: Its posteriors.
        token_ids: (B, T) the token that each frame emits on its path, or its blank.
        features: (B, T, D) its features, and (B, T) whether there are any.
        readings: Its readings.
    """

    soft_labels: SoftLabels | None
    token_ids: Tensor | None
    features: tuple[Tensor, Tensor] | None
    readings: Readings | None


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Padded features (B, F, M), tokens one after the other (sum of lengths,), and the lengths of both.

    Rows without a transcript have no tokens. With two views of each clip the second half of the rows are the other
    views of the first half. `clean` has the features of the same rows undamaged, once, if they are wanted.
    """

    features: Tensor
    feature_lengths: Tensor
    token_ids: Tensor
    token_lengths: Tensor
    transcribed: Tensor
    audio_s: float
    teacher: TeacherBatch | None = None
    clean: Tensor | None = None

    def to(self, device: torch.device) -> Batch:
        """The batch with what the teacher says on another device."""
        return self if self.teacher is None else replace(self, teacher=_to(self.teacher, device))


@dataclass(frozen=True, kw_only=True)
class Lesson:
    """What the dataset has to bring besides transcripts.

    Attributes:
        views: How often each clip is augmented, differently, for a batch.
        clean: Whether the clips are wanted undamaged, too.
        token_frame_s: The student's frames to which posteriors are laid, in seconds; None for no posteriors.
        feature_frame_s: Those to which features are laid; None for none.
        readings: How many readings of the teacher; 0 for none.
        read_all: Readings of the clips with a transcript, too.
        left_out: No readings of these clips, whose are not believed.
    """

    views: int = 1
    clean: bool = False
    token_frame_s: float | None = None
    feature_frame_s: float | None = None
    readings: int = 0
    read_all: bool = False
    left_out: frozenset[int] = frozenset()


def _to(value: Any, device: torch.device) -> Any:
    """What holds tensors - a dataclass or a tuple - with them on another device."""
    if isinstance(value, Tensor):
        return value.to(device)
    if isinstance(value, tuple):
        return tuple(_to(item, device) for item in value)
    if is_dataclass(value) and not isinstance(value, type):
        return replace(value, **{f.name: _to(getattr(value, f.name), device) for f in fields(value)})
    return value


def labelled(source: Source, data_dir: Path) -> list[Utterance]:
    """The clips of a source, with the transcripts that its labels add.

    Raises:
        ConfigError: A manifest is missing or damaged.
    """
    utterances = read_manifest(data_dir / source.manifest)
    if source.labels is None:
        return utterances
    if not (data_dir / source.labels).is_file():
        raise ConfigError(f"{data_dir / source.labels} is not there: `edgeasr label RECIPE` writes it")
    texts = {u.id: u.text for u in read_manifest(data_dir / source.labels)}
    return [u if u.text is not None else replace(u, text=texts.get(u.id)) for u in utterances]


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


def load_rooms(folder: Path, store: ClipStore) -> list[Waveform]:
    """The recorded impulse responses in a folder and the folders in it, ready to convolve with.

    Raises:
        ConfigError: There are none, or one is silent.
    """
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in AUDIO_SUFFIXES)
    if not paths:
        raise ConfigError(f"room_dir {folder} has no recordings of impulse responses")
    rooms = [prepare_response(to_float(clip)) for clip in store.load("rooms", paths)]
    for path, room in zip(paths, rooms, strict=True):
        if room.size == 0:
            raise ConfigError(f"{path}: the impulse response is silent")
    return rooms


class Dataset:
    """The training set: yields batch number n, n + 1, ... for ever.

    Attributes:
        utterances: The clips that are trained on.
        store: Where they are decoded; it knows which of them cannot be read, and why.
    """

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
        unlabelled: bool = False,
    ) -> None:
        """Lists and decodes the clips; those without a transcript only if `unlabelled`."""
        self.config = config
        self.frontend = frontend
        self.chunk_frames = chunk_frames
        self.pad_value = pad_value
        self.seed = seed
        self.targets: Targets | None = None
        self.lesson = Lesson()
        self.delimiter_id = tokens.index(word_delimiter)
        self.tokens = {token: i for i, token in enumerate(tokens)}
        self.word_delimiter = word_delimiter
        self.store = ClipStore(cache_dir, frontend.sample_rate)
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
                for u in labelled(source, data_dir)
                if (u.text or (unlabelled and u.text is None)) and config.minimum_s <= u.duration_s <= config.maximum_s
            ]
            # Before the clips are decoded, which may take minutes.
            encoded = [self.encode_transcript(u, data_dir / source.manifest) for u in listed]
            clips = self.store.load(
                Path(source.manifest).stem, [u.audio for u in listed], skip_unreadable=config.skip_unreadable
            )
            readable = [place for place, u in enumerate(listed) if u.audio not in self.store.unreadable]
            self.utterances += [listed[place] for place in readable]
            self.clips += [clips[place] for place in readable]
            self.token_ids += [encoded[place] for place in readable]
            self.repeats += [source.repeat] * len(readable)
        if not self.clips:
            manifests = ", ".join(source.manifest for source in config.sources)
            raise ConfigError(
                f"no clip to train on in {manifests}: none that can be read has a transcript and lasts "
                f"{config.minimum_s:g} to {config.maximum_s:g} s"
            )
        noise_paths = sorted((data_dir / config.noise_dir).glob("*.opus")) if config.noise_dir else []
        if config.noise_dir and not noise_paths:
            raise ConfigError(f"noise_dir {data_dir / config.noise_dir} has no recordings (*.opus)")
        noise = self.store.load("noise", noise_paths, skip_unreadable=config.skip_unreadable) if noise_paths else []
        self.noise = [to_float(clip) for clip in noise if clip.size]
        self.rooms = load_rooms(data_dir / config.room_dir, self.store) if config.room_dir else []
        if self.store.unreadable:
            logger.warning("%d sound files cannot be read and are left out", len(self.store.unreadable))
        self.timed = [
            SpliceSource(clip=number, words=u.words, speaker=u.speaker)
            for number, u in enumerate(self.utterances)
            if u.words
        ]
        if config.splice and not self.timed:
            raise ConfigError("splice needs word times, and no clip has any: tools/align_words.py finds them")
        self.transcribed = [bool(u.text) for u in self.utterances]
        self.durations_s = np.array([clip.size / frontend.sample_rate for clip in self.clips])

    def encode_transcript(self, utterance: Utterance, manifest: Path) -> list[int]:
        """The tokens of a clip's transcript; none if it has none.

        Raises:
            ConfigError: A character that the token table lacks; the message names the clip.
        """
        try:
            return encode_text(utterance.text or "", tuple(self.tokens), self.word_delimiter)
        except ConfigError as error:
            raise ConfigError(f"{manifest}: clip {utterance.id!r}: {error}") from error

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

        The first epochs (`curriculum_epochs`) go from short to long (Amodei et al. 2016), which shortens the time until
        CTC leaves its all-blank plateau; later ones are shuffled, with items of like length in a batch.
        """
        shuffled = epoch >= self.config.curriculum_epochs
        rng = np.random.default_rng([self.seed, epoch])
        repeats = np.asarray(self.repeats)
        counts = np.floor(repeats + rng.random(repeats.size)).astype(int)
        order = rng.permutation(np.repeat(np.arange(repeats.size), counts))
        items: list[list[int]] = []
        pending: list[int] = []
        for clip in order.tolist():
            joined_s = self.durations_s[[*pending, clip]].sum()
            unlike = bool(pending) and self.transcribed[pending[0]] != self.transcribed[clip]
            if pending and (unlike or joined_s > self.config.maximum_s):
                items.append(pending)
                pending = []
            pending.append(clip)
            short = self.durations_s[pending].sum() < self.config.join_below_s
            if not (shuffled and short and rng.random() < self.config.join_probability):
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
        if shuffled:
            batches = [batches[i] for i in rng.permutation(len(batches))]
        return batches

    def collate(self, items: Sequence[Sequence[int]], rng: np.random.Generator) -> Batch:
        """Augments, computes features and pads to whole chunks with digital silence."""
        views: list[list[NDArray[np.float32]]] = [[] for _ in range(self.lesson.views)]
        clean: list[NDArray[np.float32]] = []
        token_ids: list[list[int]] = []
        parts: list[list[Part]] = []
        transcribed: list[bool] = []
        frames_per_s = self.frontend.sample_rate / self.frontend.hop_length
        for item in items:
            spliced = self.splice(item, rng)
            waveform, ids, starts_s = spliced or self.join(item, rng)
            # The teacher has nothing to say of a sentence that it has never heard.
            clips = [] if spliced else item
            retimed, speed = self.config.augmentation.retime(waveform, self.frontend.sample_rate, rng)
            if self.lesson.clean:
                clean.append(log_mel(retimed, self.frontend))
            for view in views:
                damaged = self.config.augmentation.damage(
                    retimed, self.frontend.sample_rate, self.noise, rng, self.rooms
                )
                frames = log_mel(damaged, self.frontend)
                view.append(self.config.augmentation.features(frames, frames_per_s, rng))
            token_ids.append(ids)
            parts.append(
                [
                    Part(clip=clip, start_s=start / speed, speed=speed)
                    for clip, start in zip(clips, starts_s, strict=True)
                ]
            )
            transcribed.append(bool(spliced) or self.transcribed[item[0]])
        features = [frames for view in views for frames in view]
        token_ids, parts = token_ids * len(views), parts * len(views)
        longest = max(f.shape[0] for f in features)
        padded_length = -(-longest // self.chunk_frames) * self.chunk_frames
        lengths = [f.shape[0] for f in features]
        return Batch(
            features=self.pad(features, padded_length),
            feature_lengths=torch.tensor(lengths),
            token_ids=torch.tensor([i for ids in token_ids for i in ids], dtype=torch.int64),
            token_lengths=torch.tensor([len(ids) for ids in token_ids]),
            transcribed=torch.tensor(transcribed * len(views)),
            audio_s=sum(lengths) * self.frontend.hop_length / self.frontend.sample_rate,
            teacher=None if self.targets is None else self.ask(self.targets, parts, lengths, padded_length),
            clean=self.pad(clean, padded_length) if clean else None,
        )

    def pad(self, features: Sequence[NDArray[np.float32]], padded_length: int) -> Tensor:
        """Rows of features, filled up with digital silence."""
        padded = np.full((len(features), padded_length, self.frontend.num_mel_bins), self.pad_value, np.float32)
        for row, f in zip(padded, features, strict=True):
            row[: f.shape[0]] = f
        return torch.from_numpy(padded)

    def ask(
        self, targets: Targets, parts: Sequence[Sequence[Part]], lengths: Sequence[int], padded_length: int
    ) -> TeacherBatch:
        """What the teacher says of the rows of a batch, along the student's frames."""
        lesson = self.lesson
        hop_s = self.frontend.hop_length / self.frontend.sample_rate
        soft_labels = emitted = features = readings = None
        if lesson.token_frame_s is not None:
            stride = round(lesson.token_frame_s / hop_s)
            shape = (len(parts), padded_length // stride)
            top_ids = np.zeros((*shape, targets.top_k), np.int64)
            top_log_probs = np.zeros((*shape, targets.top_k), np.float32)
            blank, said = np.zeros(shape, np.float32), np.zeros(shape, bool)
            path = np.full(shape, targets.blank_id)
            for row, (row_parts, length) in enumerate(zip(parts, lengths, strict=True)):
                count = -(-length // stride)
                along = targets.tokens_along(row_parts, count, lesson.token_frame_s)
                top_ids[row, :count], top_log_probs[row, :count] = along.top_ids, along.top_log_probs
                blank[row, :count], said[row, :count] = along.blank_log_probs, along.said
                path[row, :count] = along.token_ids
            soft_labels = SoftLabels(
                top_ids=torch.from_numpy(top_ids),
                top_log_probs=torch.from_numpy(top_log_probs),
                blank_log_probs=torch.from_numpy(blank),
                said=torch.from_numpy(said),
            )
            emitted = torch.from_numpy(path)
        if lesson.feature_frame_s is not None:
            stride = round(lesson.feature_frame_s / hop_s)
            shape = (len(parts), padded_length // stride)
            values, there = np.zeros((*shape, targets.feature_dim), np.float32), np.zeros(shape, bool)
            for row, (row_parts, length) in enumerate(zip(parts, lengths, strict=True)):
                count = -(-length // stride)
                found = targets.features_along(row_parts, count, lesson.feature_frame_s)
                values[row, :count], there[row, :count] = found.features, found.said
            features = torch.from_numpy(values), torch.from_numpy(there)
        if lesson.readings:
            readings = self.read(targets, parts)
        return TeacherBatch(
            soft_labels=soft_labels,
            token_ids=emitted,
            features=features,
            readings=readings,
        )

    def read(self, targets: Targets, parts: Sequence[Sequence[Part]]) -> Readings:
        """The teacher's readings of the rows; of joined clips the best of each, then the second of each, ..."""
        rows: list[int] = []
        ids: list[list[int]] = []
        weights: list[float] = []
        for row, row_parts in enumerate(parts):
            if not row_parts or (self.transcribed[row_parts[0].clip] and not self.lesson.read_all):
                continue
            if any(part.clip in self.lesson.left_out for part in row_parts):
                continue
            heard = [targets.readings(part.clip) for part in row_parts]
            count = min(self.lesson.readings, max(len(texts) for texts, _ in heard))
            places = [[min(number, len(texts) - 1) for texts, _ in heard] for number in range(count)]
            texts = [" ".join(h[0][i] for h, i in zip(heard, place, strict=True)) for place in places]
            scores = np.array([sum(h[1][i] for h, i in zip(heard, place, strict=True)) for place in places])
            encoded = [self.encode_reading(text) for text in texts]
            probs = np.where([bool(e) for e in encoded], np.exp(scores - scores.max()), 0.0)
            for tokens, prob in zip(encoded, probs.tolist(), strict=True):
                if prob > 0:
                    rows.append(row)
                    ids.append(tokens)
                    weights.append(prob / float(probs.sum()))
        return Readings(
            rows=torch.tensor(rows, dtype=torch.int64),
            token_ids=torch.tensor([i for tokens in ids for i in tokens], dtype=torch.int64),
            token_lengths=torch.tensor([len(tokens) for tokens in ids], dtype=torch.int64),
            weights=torch.tensor(weights, dtype=torch.float32),
        )

    def encode_reading(self, text: str) -> list[int]:
        """A teacher's text in the student's tokens, in lower case; what the table lacks is left out."""
        words = ("".join(c for c in word if c in self.tokens) for word in text.lower().split())
        return [self.tokens[c] for c in self.word_delimiter.join(word for word in words if word)]

    def join(self, item: Sequence[int], rng: np.random.Generator) -> tuple[Waveform, list[int], list[float]]:
        """The clips of an item one after the other, at one level, with faint pauses between.

        Returns:
            The waveform, its tokens, and the times in seconds at which the clips begin.
        """
        parts: list[Waveform] = []
        ids: list[int] = []
        starts: list[int] = []
        for clip in item:
            waveform = to_float(self.clips[clip])
            if parts:
                level = max(float(np.abs(waveform).max(initial=0.0)), 1e-4)
                waveform = waveform * np.float32(min(float(np.abs(parts[0]).max(initial=0.0)) / level, 30.0))
                pause = rng.uniform(0, self.config.maximum_pause_s) * self.frontend.sample_rate
                parts.append(rng.standard_normal(int(pause), dtype=np.float32) * np.float32(1e-4))
                if self.transcribed[clip]:
                    ids.append(self.delimiter_id)
            starts.append(sum(part.size for part in parts))
            parts.append(waveform)
            ids += self.token_ids[clip]
        starts_s = [start / self.frontend.sample_rate for start in starts]
        return (parts[0] if len(parts) == 1 else np.concatenate(parts)), ids, starts_s

    def splice(self, item: Sequence[int], rng: np.random.Generator) -> tuple[Waveform, list[int], list[float]] | None:
        """A sentence made of words of other clips, no longer than the clips of an item; None to leave the item.

        Returns:
            As `join`, without beginnings of clips.
        """
        if self.config.splice is None:
            return None
        num_samples = sum(self.clips[clip].size for clip in item)
        made = self.config.splice(
            num_samples, self.timed, lambda clip: to_float(self.clips[clip]), self.frontend.sample_rate, rng
        )
        if made is None:
            return None
        return made[0], [self.tokens[c] for c in made[1].replace(" ", self.word_delimiter)], []

    def feature_statistics(self, num_clips: int = 500) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Mean and standard deviation per mel bin over a sample of augmented clips."""
        rng = np.random.default_rng([self.seed, num_clips])
        chosen = rng.choice(len(self.clips), min(num_clips, len(self.clips)), replace=False)
        frames = np.concatenate(
            [
                log_mel(
                    self.config.augmentation.waveform(
                        to_float(self.clips[i]), self.frontend.sample_rate, self.noise, rng, self.rooms
                    ),
                    self.frontend,
                )
                for i in chosen
            ]
        )
        return frames.mean(axis=0), frames.std(axis=0)
