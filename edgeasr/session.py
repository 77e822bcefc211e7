"""A session of listening, recorded: the exact blocks of sound with their times of arrival, and what was told of them.

A session is a zip file:

    session.json    what listened: versions, options, bundle; see `describe_versions`
    blocks.jsonl    a line for each block: how many samples and when it came; or a device event
    sound.f32       the samples of all blocks, float32, little-endian
    events.jsonl    a line for each event

It is written to a folder beside it that is packed at the end, so that a crash leaves what had been heard.
"""

from __future__ import annotations

import json
import logging
import shutil
import sys
import time
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields, is_dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

import numpy as np
import numpy.typing as npt

from edgeasr.errors import InputError
from edgeasr.events import DeviceEvent, DeviceLost, DeviceRestored, Event, Overflow
from edgeasr.types import Partial

logger = logging.getLogger(__name__)

FORMAT = "edgeasr-session"
VERSION = 1
DESCRIPTION_FILE = "session.json"
BLOCKS_FILE = "blocks.jsonl"
SOUND_FILE = "sound.f32"
EVENTS_FILE = "events.jsonl"
FILES = (DESCRIPTION_FILE, BLOCKS_FILE, SOUND_FILE, EVENTS_FILE)
SAMPLE_TYPE = np.dtype("<f4")
DEVICE_EVENTS: dict[str, type[DeviceEvent]] = {kind.__name__: kind for kind in (Overflow, DeviceLost, DeviceRestored)}

Block = npt.NDArray[np.float32] | DeviceEvent


class SessionRecorder:
    """Writes a session while it goes on. A context manager.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder) / "session.zip"
        ...     with SessionRecorder(path, {"sample_rate": 16000}) as recorder:
        ...         heard = sum(len(block) for block in recorder.blocks([np.zeros(160, np.float32)]))
        ...     session = read_session(path)
        ...     heard, [len(block) for block in session.blocks()]
        (160, [160])
    """

    def __init__(self, path: str | Path, description: Mapping[str, Any]) -> None:
        """Prepares.

        Args:
            path: The zip file to write.
            description: What a replay has to know, as JSON can say it; `sample_rate` among it.
        """
        self.path = Path(path)
        self._folder = self.path.with_name(self.path.name + ".part")
        self._description = dict(description)
        self._begun = time.monotonic()
        self._files: dict[str, IO[bytes]] = {}
        self._problem: OSError | None = None

    def __enter__(self) -> Self:
        """Makes the files.

        Raises:
            OSError: They cannot be made, or the session is there already.
        """
        if self.path.exists():
            raise FileExistsError(17, "the session is there already; choose another name", str(self.path))
        self._folder.mkdir(parents=True)
        for name in (BLOCKS_FILE, SOUND_FILE, EVENTS_FILE):
            self._files[name] = (self._folder / name).open("wb")
        header = {"format": FORMAT, "version": VERSION, **describe_versions(), **self._description}
        (self._folder / DESCRIPTION_FILE).write_text(json.dumps(header, indent=1) + "\n", encoding="utf-8")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for file in self._files.values():
            with self._surviving():
                file.close()
        if self._problem is None:
            with self._surviving():
                self._pack()

    def _pack(self) -> None:
        packed = self._folder / "packed.zip"
        try:
            with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
                for name in FILES:
                    archive.write(self._folder / name, name)
            packed.replace(self.path)
        except BaseException:  # Ctrl-C among them
            packed.unlink(missing_ok=True)
            raise
        shutil.rmtree(self._folder)

    @property
    def problem(self) -> OSError | None:
        """Why the recording broke off, if it did; what came before is in the folder `<path>.part`."""
        return self._problem

    def blocks(self, source: Iterable[Block]) -> Iterator[Block]:
        """Passes on what a source gives, and keeps it."""
        for block in source:
            with self._surviving():
                if self._problem is None:
                    self._keep(block)
            yield block

    def tell(self, event: Event) -> None:
        """Keeps an event."""
        with self._surviving():
            if self._problem is None:
                self._write_line(EVENTS_FILE, event_record(event))

    def _keep(self, block: Block) -> None:
        at_s = round(time.monotonic() - self._begun, 6)
        if isinstance(block, np.ndarray):
            self._files[SOUND_FILE].write(block.astype(SAMPLE_TYPE, copy=False).tobytes())
            self._write_line(BLOCKS_FILE, {"at_s": at_s, "num_samples": len(block)})
        else:
            self._write_line(BLOCKS_FILE, {"at_s": at_s, **event_record(block)})

    def _write_line(self, name: str, record: Mapping[str, Any]) -> None:
        self._files[name].write(json.dumps(record, ensure_ascii=False).encode() + b"\n")

    @contextmanager
    def _surviving(self) -> Iterator[None]:
        """A full disk ends the recording, not the listening."""
        try:
            yield
        except OSError as error:
            if self._problem is None:
                logger.warning("%s: the recording of the session breaks off: %s", self.path, error)
                self._problem = error


@dataclass(frozen=True, kw_only=True)
class Session:
    """A recorded session.

    Attributes:
        path: The zip file.
        description: What listened.
        arrivals: When each block came, in seconds from the start.
        events: The records of the events, see `event_record`.
    """

    path: Path
    description: Mapping[str, Any]
    arrivals: tuple[float, ...]
    events: tuple[Mapping[str, Any], ...]

    @property
    def sample_rate(self) -> int:
        """Of the blocks, in Hz."""
        rate: int = self.description["sample_rate"]
        return rate

    def blocks(self) -> Iterator[Block]:
        """Yields what was heard, as it came.

        Raises:
            InputError: The file is damaged.
        """
        with _reading(self.path) as archive, archive.open(SOUND_FILE) as sound:
            for number, record in enumerate(_records(archive, BLOCKS_FILE), 1):
                where = f"{self.path}: {BLOCKS_FILE}:{number}"
                kind = DEVICE_EVENTS.get(str(record.get("event")))
                if kind is not None:
                    yield _device_event(kind, record, where)
                    continue
                num_samples = record["num_samples"]
                if type(num_samples) is not int or num_samples < 0:
                    raise InputError(f"{where}: num_samples is {num_samples!r}")
                size = num_samples * SAMPLE_TYPE.itemsize
                samples = sound.read(size)
                if len(samples) != size:
                    raise InputError(f"{self.path}: {SOUND_FILE} is shorter than {BLOCKS_FILE} says")
                yield np.frombuffer(samples, SAMPLE_TYPE).astype(np.float32)


def read_session(path: str | Path) -> Session:
    """Opens a session.

    Raises:
        InputError: It is none, is damaged, or comes from a newer version.
        OSError: There is no such file.
    """
    path = Path(path)
    with _reading(path) as archive:
        try:
            description = json.loads(archive.read(DESCRIPTION_FILE))
        except ValueError as error:
            raise InputError(f"{path}: {DESCRIPTION_FILE} is damaged: {error}") from error
        if not isinstance(description, dict) or description.get("format") != FORMAT:
            raise InputError(f"{path} is not a session that edgeasr has recorded")
        if description.get("version") != VERSION:
            raise InputError(
                f"{path} is of version {description.get('version')!r} of the format, this edgeasr knows {VERSION}"
            )
        if type(description.get("sample_rate")) is not int or description["sample_rate"] < 1:
            raise InputError(f"{path}: {DESCRIPTION_FILE} has no sample rate")
        for name in ("versions", "bundle", "options", "files"):
            if not isinstance(description.get(name, {}), dict):
                raise InputError(f"{path}: {DESCRIPTION_FILE}: {name} is {description[name]!r}, not an object")
        return Session(
            path=path,
            description=description,
            arrivals=tuple(record["at_s"] for record in _records(archive, BLOCKS_FILE)),
            events=tuple(_records(archive, EVENTS_FILE)),
        )


def event_record(event: Event) -> dict[str, Any]:
    """An event as JSON can say it, exactly: the same events have the same records."""
    record: dict[str, Any] = {"event": type(event).__name__}
    if isinstance(event, Partial):
        words = [asdict(word) for word in event.words]
        return record | {"time_s": event.time_s, "num_committed_words": event.num_committed_words, "words": words}
    assert is_dataclass(event)
    # Through JSON once, so that tuples are lists here as they are in a file.
    record |= json.loads(json.dumps(asdict(event)))
    return record


def describe_versions() -> dict[str, Any]:
    """What a result may depend on besides sound, options and bundle."""
    import platform
    from importlib.metadata import version

    packages = ("edgeasr", "numpy", "onnxruntime", "soxr")
    return {
        "versions": {"python": platform.python_version(), **{name: version(name) for name in packages}},
        "machine": f"{sys.platform} {platform.machine()}",
    }


def first_difference(
    before: Iterable[Mapping[str, Any]], after: Iterable[Mapping[str, Any]]
) -> tuple[int, Mapping[str, Any] | None, Mapping[str, Any] | None] | None:
    """Where two sequences of event records part.

    Returns:
        The place, and the record of each there, None where one has ended; None if they are the same.

    Example:
        >>> first_difference([{"event": "Final"}], [{"event": "Final"}, {"event": "Overflow"}])
        (1, None, {'event': 'Overflow'})
    """
    ones, others = list(before), list(after)
    for place in range(max(len(ones), len(others))):
        one = ones[place] if place < len(ones) else None
        other = others[place] if place < len(others) else None
        if one != other:
            return place, one, other
    return None


def _device_event(kind: type[DeviceEvent], record: Mapping[str, Any], where: str) -> DeviceEvent:
    given: dict[str, Any] = {}
    for field in fields(kind):
        value = given[field.name] = record[field.name]
        # Annotations are texts here.
        if isinstance(value, bool) or not isinstance(value, str if field.type == "str" else (int, float)):
            raise InputError(f"{where}: {field.name} is {value!r}")
    return kind(**given)


@contextmanager
def _reading(path: Path) -> Iterator[zipfile.ZipFile]:
    try:
        with zipfile.ZipFile(path) as archive:
            yield archive
    except (zipfile.BadZipFile, KeyError, EOFError, zlib.error) as error:
        raise InputError(f"{path} is not a session that edgeasr has recorded, or it is damaged: {error}") from error


def _records(archive: zipfile.ZipFile, name: str) -> Iterator[dict[str, Any]]:
    with archive.open(name) as lines:
        for number, line in enumerate(lines, 1):
            try:
                record = json.loads(line)
            except ValueError as error:
                raise InputError(f"{archive.filename}: {name}:{number}: {error}") from error
            if not isinstance(record, dict):
                raise InputError(f"{archive.filename}: {name}:{number}: expected an object")
            yield record
