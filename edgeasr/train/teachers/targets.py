"""What a teacher said of the clips: kept on disk, and laid along what the student hears.

A teacher listens to each clean clip once. Its answer is kept under the content of the clip and of the teacher's own
files, in arrays that training maps into memory. The student hears the clip at another speed, joined to others, and in
frames of its own: `Targets` finds for each of these what the teacher said then.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from edgeasr.train.clips import to_float
from edgeasr.train.teachers.teacher import FloatArray, Frames, IntArray, Said, Teacher, TeacherConfig, fingerprint

if TYPE_CHECKING:
    from edgeasr.train.recipe import TokensConfig

logger = logging.getLogger(__name__)

META = "teacher.json"
INDEX = "index.jsonl"
LOCK = "lock"
NOTHING = -1  # where a frame of the student has no counterpart


@dataclass(frozen=True, kw_only=True)
class Part:
    """A clip in what the student hears, which may be several clips joined, played at another speed.

    Attributes:
        clip: Its number.
        start_s: Where it begins in the sound that the student hears.
        speed: How much faster than the clip that is.
    """

    clip: int
    start_s: float
    speed: float


@dataclass(frozen=True, kw_only=True)
class TokenTargets:
    """The teacher's posteriors for each frame of the student.

    Attributes:
        top_ids: (num_frames, top_k) int64 tokens.
        top_log_probs: (num_frames, top_k) float32, their log-probs.
        blank_log_probs: (num_frames,) float32.
        token_ids: (num_frames,) int64, the token emitted in the frame, or the blank.
        said: (num_frames,) whether the teacher says something of the frame.
    """

    top_ids: IntArray
    top_log_probs: FloatArray
    blank_log_probs: FloatArray
    token_ids: IntArray
    said: NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class FeatureTargets:
    """The teacher's features for each frame of the student: (num_frames, dim), and whether there are any."""

    features: FloatArray
    said: NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class Kept:
    """The places of a clip in the arrays of the store, and its readings."""

    token_begin: int
    token_end: int
    feature_begin: int
    feature_end: int
    readings: tuple[str, ...]
    scores: tuple[float, ...]


class Store:
    """The answers of one teacher, on disk.

    Arrays are files to which each clip adds its rows; then a line is added to the index. What lies behind the last line
    was left by an interruption and is written over. Posteriors and features are kept in half precision.
    """

    def __init__(self, folder: Path, *, tokens: Sequence[str], blank_id: int, top_k: int, feature_dim: int) -> None:
        self.folder = folder
        self.tokens = tuple(tokens)
        self.blank_id = blank_id
        self.top_k = min(top_k, len(self.tokens))
        self.feature_dim = feature_dim
        token_dtype = np.uint16 if len(self.tokens) <= np.iinfo(np.uint16).max else np.uint32
        # For each file the type and the number of values in a row, and whether its rows are those of the features.
        self._files: dict[str, tuple[type[Any], int, bool]] = {
            "token_ids": (token_dtype, 1, False),
            "top_ids": (token_dtype, self.top_k, False),
            "top_log_probs": (np.float16, self.top_k, False),
            "blank_log_probs": (np.float16, 1, False),
            "features": (np.float16, feature_dim, True),
        }
        self._kept = dict(self._read_index())
        # Mapped when they are first looked at.
        self._arrays: dict[str, NDArray[Any]] = {}

    def _read_index(self) -> list[tuple[str, Kept]]:
        path = self.folder / INDEX
        lines = path.read_text(encoding="utf-8").split("\n") if path.is_file() else []
        # A last line without its end was cut short.
        rows = [json.loads(line) for line in lines[:-1]]
        return [
            (row.pop("key"), Kept(readings=tuple(row.pop("readings")), scores=tuple(row.pop("scores")), **row))
            for row in rows
        ]

    def __contains__(self, key: str) -> bool:
        return key in self._kept

    def __len__(self) -> int:
        return len(self._kept)

    def kept(self, key: str) -> Kept:
        """Where a clip's answer is."""
        return self._kept[key]

    def array(self, name: str) -> NDArray[Any]:
        """All rows of an array, mapped into memory."""
        if name not in self._arrays:
            dtype, width, _ = self._files[name]
            path = self.folder / name
            if width and path.is_file() and path.stat().st_size:
                self._arrays[name] = np.memmap(path, dtype, "r").reshape(-1, width)
            else:
                self._arrays[name] = np.zeros((0, width), dtype)
        return self._arrays[name]

    def __getstate__(self) -> dict[str, Any]:
        """Another process maps the files anew."""
        return {**self.__dict__, "_arrays": {}}

    def fill(
        self, answers: Callable[[str], Said], keys: Sequence[str], on_answer: Callable[[int], None] | None = None
    ) -> None:
        """Asks for what is missing.

        Args:
            answers: What the teacher says of the clip with this key.
            keys: Of all clips.
            on_answer: Told the place in `keys` of each clip that has been asked for.
        """
        import fcntl

        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / LOCK).open("w") as lock:
            # Another process may be about it, and then there is less to do.
            fcntl.flock(lock, fcntl.LOCK_EX)
            self._kept = dict(self._read_index())
            missing = {key: place for place, key in reversed(list(enumerate(keys))) if key not in self._kept}
            if missing:
                self._add(answers, sorted(missing.items(), key=lambda item: item[1]), on_answer)

    def _add(
        self,
        answers: Callable[[str], Said],
        missing: Sequence[tuple[str, int]],
        on_answer: Callable[[int], None] | None,
    ) -> None:
        """Adds the answers for keys with their places to the files."""
        # At the ends of what the index knows.
        ends = [
            max((kept.token_end for kept in self._kept.values()), default=0),
            max((kept.feature_end for kept in self._kept.values()), default=0),
        ]
        files = {}
        for name, (dtype, width, of_features) in self._files.items():
            path = self.folder / name
            path.touch()
            files[name] = path.open("r+b")
            files[name].truncate(ends[of_features] * width * np.dtype(dtype).itemsize)
            files[name].seek(0, 2)
        index_path = self.folder / INDEX
        whole = "".join(line + "\n" for line in map(_index_line, self._kept, self._kept.values()))
        if not index_path.is_file() or index_path.read_text(encoding="utf-8") != whole:
            partial = index_path.with_name(INDEX + ".partial")
            partial.write_text(whole, encoding="utf-8")
            partial.replace(index_path)
        try:
            with index_path.open("a", encoding="utf-8") as index:
                for key, place in missing:
                    said = answers(key)
                    rows = self._rows(said)
                    for name, file in files.items():
                        file.write(rows[name].tobytes())
                        file.flush()
                    begins = tuple(ends)
                    ends = [ends[0] + len(rows["token_ids"]), ends[1] + len(rows["features"])]
                    self._kept[key] = Kept(
                        token_begin=begins[0],
                        token_end=ends[0],
                        feature_begin=begins[1],
                        feature_end=ends[1],
                        readings=said.readings,
                        scores=said.scores,
                    )
                    index.write(_index_line(key, self._kept[key]) + "\n")
                    index.flush()
                    if on_answer is not None:
                        on_answer(place)
        finally:
            for file in files.values():
                file.close()
            self._arrays = {}

    def _rows(self, said: Said) -> dict[str, NDArray[Any]]:
        """A clip's rows for each file."""
        num_rows = len(said.token_ids) if self.top_k else 0
        log_probs = said.log_probs[:num_rows]
        top = np.argsort(-log_probs, axis=1, kind="stable")[:, : self.top_k]
        blank = log_probs[:, self.blank_id] if num_rows else np.zeros(0)
        values = {
            "token_ids": said.token_ids[:num_rows],
            "top_ids": top,
            # The smallest half-precision number stands for what has no probability.
            "top_log_probs": np.maximum(np.take_along_axis(log_probs, top, 1), np.finfo(np.float16).min),
            "blank_log_probs": np.maximum(blank, np.finfo(np.float16).min),
            "features": said.features if self.feature_dim else np.zeros((0, 0)),
        }
        return {name: values[name].astype(dtype) for name, (dtype, _, _) in self._files.items()}


def _index_line(key: str, kept: Kept) -> str:
    return json.dumps({"key": key, **asdict(kept)}, ensure_ascii=False)


class Targets(Protocol):
    """What a teacher, or several of them, said of a list of clips.

    Attributes:
        tokens: The teacher's tokens.
        blank_id: Its blank.
        feature_dim: The size of its features; 0 if they are not kept.
        top_k: How many posteriors of a frame are kept; 0 for none.
    """

    tokens: tuple[str, ...]
    blank_id: int
    feature_dim: int
    top_k: int

    @property
    def folders(self) -> list[Path]:
        """Where it is kept."""

    def readings(self, clip: int) -> tuple[tuple[str, ...], tuple[float, ...]]:
        """The readings of a clip, the best first, and the log of each one's probability."""

    def disagreement(self, clip: int) -> float:
        """The largest character error rate between what two teachers read; 0 where there is one."""

    def tokens_along(self, parts: Sequence[Part], num_frames: int, frame_s: float) -> TokenTargets:
        """Posteriors for each of the student's frames, which lie side by side."""

    def features_along(self, parts: Sequence[Part], num_frames: int, frame_s: float) -> FeatureTargets:
        """Features for each of the student's frames."""


class StoredTargets:
    """What one teacher said, from the disk (`Targets`)."""

    def __init__(self, store: Store, keys: Sequence[str], *, token_frames: Frames, feature_frames: Frames) -> None:
        self.store = store
        self.keys = list(keys)
        self.tokens, self.blank_id = store.tokens, store.blank_id
        self.feature_dim, self.top_k = store.feature_dim, store.top_k
        self.token_frames = token_frames
        self.feature_frames = feature_frames

    @property
    def folders(self) -> list[Path]:
        """Where it is kept."""
        return [self.store.folder]

    def disagreement(self, clip: int) -> float:
        """One teacher agrees with itself."""
        return 0.0

    def readings(self, clip: int) -> tuple[tuple[str, ...], tuple[float, ...]]:
        """The teacher's readings of a clip, and the log of each one's probability."""
        kept = self.store.kept(self.keys[clip])
        return kept.readings, kept.scores

    def tokens_along(self, parts: Sequence[Part], num_frames: int, frame_s: float) -> TokenTargets:
        """Posteriors for each of the student's frames, which lie side by side.

        A token is emitted once: in the frame nearest to the teacher's. Where the student's frames are the finer ones,
        the others that the teacher's frame reaches say nothing.
        """
        rows = np.full(num_frames, NOTHING, np.int64)
        emitted = self.store.array("token_ids")[:, 0]
        for part in parts:
            kept = self.store.kept(self.keys[part.clip])
            begin, end = kept.token_begin, kept.token_end
            inside, places = frames_of_part(part, end - begin, self.token_frames, num_frames, frame_s)
            spikes = np.flatnonzero(emitted[begin:end] != self.blank_id)
            silent = (places == NOTHING) | np.isin(places, spikes)
            rows[inside] = np.where(silent, NOTHING, places + begin)
            centres_s = part.start_s + (self.token_frames.first_s + spikes * self.token_frames.step_s) / part.speed
            free = inside.start
            for spike, row in zip(
                spikes.tolist(), np.round(centres_s / frame_s - 0.5).astype(int).tolist(), strict=True
            ):
                # Two tokens that fall on one frame come one after the other.
                place = max(row, free)
                if place < inside.stop:
                    rows[place] = spike + begin
                free = place + 1
        said = rows != NOTHING
        # Rows that say nothing get the values of some row, which nobody looks at.
        chosen = np.where(said, rows, 0) if len(emitted) else np.zeros(0, np.int64)
        if not len(emitted):
            shape = (num_frames, self.top_k)
            blank = np.full(num_frames, self.blank_id, np.int64)
            zeros = np.zeros(shape, np.float32)
            return TokenTargets(
                top_ids=np.zeros(shape, np.int64),
                top_log_probs=zeros,
                blank_log_probs=np.zeros(num_frames, np.float32),
                token_ids=blank,
                said=said,
            )
        return TokenTargets(
            top_ids=self.store.array("top_ids")[chosen].astype(np.int64),
            top_log_probs=self.store.array("top_log_probs")[chosen].astype(np.float32),
            blank_log_probs=self.store.array("blank_log_probs")[chosen, 0].astype(np.float32),
            token_ids=np.where(said, emitted[chosen], self.blank_id).astype(np.int64),
            said=said,
        )

    def features_along(self, parts: Sequence[Part], num_frames: int, frame_s: float) -> FeatureTargets:
        """Features for each of the student's frames: those of the teacher's frame that is nearest.

        Of a teacher with finer frames, two or more to one of the student's, it is the mean of so many around it.
        """
        width = max(1, round(frame_s / self.feature_frames.step_s))
        features = np.zeros((num_frames, self.feature_dim), np.float32)
        said = np.zeros(num_frames, bool)
        array = self.store.array("features")
        for part in parts:
            kept = self.store.kept(self.keys[part.clip])
            count = kept.feature_end - kept.feature_begin
            inside, places = frames_of_part(part, count, self.feature_frames, num_frames, frame_s)
            there = places != NOTHING
            if width == 1:
                features[inside][there] = array[kept.feature_begin + places[there]]
            else:
                features[inside][there] = self._means(kept, width, part, inside, frame_s)[there]
            said[inside] = there
        return FeatureTargets(features=features, said=said)

    def _means(self, kept: Kept, width: int, part: Part, inside: slice, frame_s: float) -> FloatArray:
        """The mean of the teacher's `width` frames around the centre of each of the student's, (frames, dim)."""
        times = self.feature_frames
        centres_s = (np.arange(inside.start, inside.stop) + 0.5) * frame_s
        place = ((centres_s - part.start_s) * part.speed - times.first_s) / times.step_s
        first = np.ceil(place - width / 2).astype(np.int64)
        rows = np.clip(first[:, None] + np.arange(width), 0, kept.feature_end - kept.feature_begin - 1)
        means: FloatArray = self.store.array("features")[kept.feature_begin + rows].astype(np.float32).mean(1)
        return means


def frames_of_part(
    part: Part, num_teacher_frames: int, times: Frames, num_frames: int, frame_s: float
) -> tuple[slice, IntArray]:
    """The student's frames whose centres lie in a part or after it, and for each the teacher's nearest frame.

    The teacher hears some silence after the clip's end; where the next part begins its frames end, as that one is laid
    over this one.
    """
    first = min(num_frames, max(0, int(np.ceil(part.start_s / frame_s - 0.5))))
    centres_s = (np.arange(first, num_frames) + 0.5) * frame_s
    teacher_s = (centres_s - part.start_s) * part.speed
    places = np.round((teacher_s - times.first_s) / times.step_s).astype(np.int64)
    places = np.where((places == -1) & (num_teacher_frames > 0), 0, places)
    places = np.where((places < 0) | (places >= num_teacher_frames), NOTHING, places)
    return slice(first, num_frames), places


def clip_key(clip: NDArray[np.int16], text: str | None) -> str:
    """What a clip is kept under: its samples, and the transcript if the teacher follows it."""
    digest = hashlib.sha256(np.ascontiguousarray(clip).view(np.uint8).data)
    if text is not None:
        digest.update(b"\0" + text.encode())
    return digest.hexdigest()[:24]


def ask(
    config: TeacherConfig,
    clips: Sequence[NDArray[np.int16]],
    texts: Sequence[str | None],
    sample_rate: int,
    *,
    tokens: TokensConfig,
    load: Callable[[], Teacher],
    data: Path,
    cache_dir: Path,
    on_progress: Callable[[float, float], None] | None = None,
) -> StoredTargets:
    """What a teacher says of the clips; it is loaded and asked only for what is not kept yet.

    Args:
        config: Who, and what to keep.
        clips: 16-bit samples.
        texts: Their transcripts, None where there is none.
        sample_rate: Of the clips in Hz.
        tokens: The student's.
        load: Loads the teacher.
        data: The data folder, where the teacher's files are.
        cache_dir: Gets a folder for each teacher.
        on_progress: Told how many seconds of sound are done, of how many.
    """
    follow = config.kind == "transducer" and config.posteriors == "reference"
    keys = [clip_key(clip, text if follow else None) for clip, text in zip(clips, texts, strict=True)]
    folder = cache_dir / f"teacher-{fingerprint(config, data, tokens)}"
    teacher: Teacher | None = None
    if not (folder / META).is_file():
        teacher = load()
        folder.mkdir(parents=True, exist_ok=True)
        meta = {
            "tokens": teacher.tokens,
            "blank_id": teacher.blank_id,
            "feature_dim": teacher.feature_dim if config.features else 0,
            "token_frames": asdict(teacher.token_frames),
            "feature_frames": asdict(teacher.feature_frames),
            "teacher": asdict(config),
        }
        partial = folder / (META + ".partial")
        partial.write_text(json.dumps(meta, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
        partial.replace(folder / META)
    meta = json.loads((folder / META).read_text(encoding="utf-8"))
    store = Store(
        folder,
        tokens=meta["tokens"],
        blank_id=meta["blank_id"],
        top_k=config.top_k,
        feature_dim=meta["feature_dim"],
    )
    places = {key: place for place, key in reversed(list(enumerate(keys)))}
    missing = [place for key, place in places.items() if key not in store]
    missing_s = sum(clips[place].size for place in missing) / sample_rate
    done_s = 0.0

    def answer(key: str) -> Said:
        nonlocal teacher
        teacher = teacher or load()
        return teacher.hear(to_float(clips[places[key]]), sample_rate, texts[places[key]])

    def on_answer(place: int) -> None:
        nonlocal done_s
        done_s += clips[place].size / sample_rate
        if on_progress is not None:
            on_progress(done_s, missing_s)

    if missing:
        logger.info("%s: the teacher listens to %.2f h", folder, missing_s / 3600)
        store.fill(answer, keys, on_answer)
    return StoredTargets(
        store,
        keys,
        token_frames=Frames(**meta["token_frames"]),
        feature_frames=Frames(**meta["feature_frames"]),
    )
