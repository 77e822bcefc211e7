"""Listening: a source of sound goes through a stream, and events come out, for loops, asyncio and callbacks.

A `for` loop runs in the thread of its caller. `async for` and `Listener.start` have one thread each, which ends with
the listening: when the source ends, after `stop`, and when the interpreter exits.
"""

from __future__ import annotations

import asyncio
import atexit
import threading
import time
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Any, Protocol, Self

import numpy.typing as npt

from edgeasr.errors import StreamStateError
from edgeasr.events import DeviceEvent, DeviceLost, DeviceRestored, Event, Overflow
from edgeasr.stream import Stream
from edgeasr.waveform import as_waveform, loudness_db

# What a source gives: sound, and what happens to it.
Block = npt.NDArray[Any] | DeviceEvent
EventHandler = Callable[[Event], object]

_QUIETEST_DBFS = -100.0


class BlockSource(Protocol):
    """A source of sound that knows its sample rate: a `Microphone`, a reader of `edgeasr.audio`, or one's own."""

    sample_rate: int

    def blocks(self) -> Iterator[Any]:
        """Yields arrays as `Stream.accept` takes them, and device events."""


Source = BlockSource | Iterable[Block] | AsyncIterable[Block]


class Listener:
    """Events from a source of sound. `Recognizer.listen` makes one.

    It is used once, in one of four ways: `for event in listener`, `async for event in listener`, `run(handler)`
    in this thread, or `start(handler)` in a thread of its own. `stop` ends any of them; what is being said
    then is finished first.

    Example:
        >>> import numpy as np
        >>> from edgeasr import Recognizer
        >>> listener = Recognizer().listen(iter([np.zeros(16000, np.float32)]), sample_rate=16000)
        >>> list(listener)
        []
        >>> listener.heard_s
        1.0
    """

    def __init__(
        self,
        stream: Stream,
        source: Source,
        *,
        every_second: Callable[[Stream], None] | None = None,
    ) -> None:
        """Prepares to listen.

        Args:
            stream: It keeps events; it is the listener's alone.
            source: Where the sound comes from; `async for` alone takes one that is asynchronous.
            every_second: Called with the stream after about each second of sound.
        """
        self._stream = stream
        self._blocks: Iterator[Block] | None = None
        self._async_blocks: AsyncIterator[Block] | None = None
        blocks = source.blocks() if hasattr(source, "blocks") else source
        if isinstance(blocks, AsyncIterable):
            self._async_blocks = aiter(blocks)
        else:
            self._blocks = iter(blocks)
        self._every_second = every_second
        self._events: deque[Event] = deque()
        self._stopping = threading.Event()
        self._ended = False
        self._error: BaseException | None = None
        self._thread: threading.Thread | None = None
        # Of `async for`: its thread, the one of a loop that was cancelled, and what the thread does now.
        self._executor: ThreadPoolExecutor | None = None
        self._cancelled: ThreadPoolExecutor | None = None
        self._under_way: Future[None] | None = None
        self._num_samples = 0
        self._busy_s = 0.0
        self._level_dbfs = _QUIETEST_DBFS

    @property
    def heard_s(self) -> float:
        """Seconds of sound that have been heard. Any thread may read this and the next two."""
        return self._num_samples / self._stream.sample_rate

    @property
    def real_time_factor(self) -> float:
        """Time that recognition took, for each second of sound."""
        return self._busy_s / self.heard_s if self._num_samples else 0.0

    @property
    def level_dbfs(self) -> float:
        """Level of the last block, in decibels below full scale; -100 for silence."""
        return self._level_dbfs

    def stop(self) -> None:
        """Ends the listening after the block that is awaited. Any thread and any signal handler may call this."""
        self._stopping.set()

    def __iter__(self) -> Iterator[Event]:
        return self

    def __next__(self) -> Event:
        if self._async_blocks is not None:
            raise StreamStateError("this source is asynchronous: use `async for`")
        while not self._events:
            if self._ended:
                self._raise_error()
                raise StopIteration
            self._step()
        return self._events.popleft()

    def __aiter__(self) -> AsyncIterator[Event]:
        return self

    async def __anext__(self) -> Event:
        try:
            while not self._events:
                if self._ended:
                    self._raise_error()
                    raise StopAsyncIteration
                await self._async_step()
        except Exception:  # StopAsyncIteration as well: the thread has nothing to do any more
            self._end_thread()
            raise
        except BaseException:
            # Cancelled. The thread may wait for a block, the event loop must not wait for the thread.
            if self._executor is not None:
                self._executor.shutdown(wait=False)
                self._cancelled, self._executor = self._executor, None
            raise
        return self._events.popleft()

    def run(self, handler: EventHandler) -> None:
        """Calls the handler with every event, in this thread, until the source ends or `stop` is called."""
        for event in self:
            handler(event)

    def start(self, handler: EventHandler) -> None:
        """Calls the handler with every event, from a thread of its own; `join` waits for its end.

        Raises:
            StreamStateError: It has been started already.
        """
        if self._thread is not None:
            raise StreamStateError("the listener has been started already")
        self._thread = threading.Thread(target=self._run_thread, args=(handler,), name="edgeasr-listener", daemon=True)
        atexit.register(self._stop_at_exit)
        self._thread.start()

    def join(self) -> None:
        """Waits until the thread of `start` has ended, and raises the error that ended it, if any."""
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join()
        self._raise_error()

    def close(self) -> None:
        """Stops, and waits for the threads that there are."""
        self.stop()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join()
        self._end_thread()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await asyncio.to_thread(self.close)

    def _step(self) -> None:
        """Takes a block; at the end of the source, or when it fails, finishes what is being said."""
        assert self._blocks is not None
        try:
            block = None if self._stopping.is_set() else next(self._blocks, None)
        except Exception as error:
            self._error = error
            block = None
        self._take(block)

    async def _async_step(self) -> None:
        if self._async_blocks is None or self._under_way is not None:
            # A step and no more: the thread is free again when the next block has come, whatever happens here. The one
            # that a cancelled loop has left comes first, wherever its block is from.
            await self._in_thread(self._step)
            return
        try:
            block = None if self._stopping.is_set() else await anext(self._async_blocks, None)
        except Exception as error:
            self._error = error
            block = None
        await self._in_thread(self._take, block)

    async def _in_thread(self, step: Callable[..., None], *args: Block | None) -> None:
        """Does something in the thread; what a cancelled loop has left under way is waited for instead."""
        if self._under_way is None:
            if self._executor is None:
                self._executor = ThreadPoolExecutor(1, thread_name_prefix="edgeasr-listener")
            self._under_way = self._executor.submit(step, *args)
        try:
            await asyncio.shield(asyncio.wrap_future(self._under_way))
        except Exception:
            self._under_way = None
            raise
        self._under_way = None

    def _take(self, block: Block | None) -> None:
        if isinstance(block, (Overflow, DeviceLost, DeviceRestored)):
            self._events.append(block)
            return
        begun_s = time.perf_counter()
        if block is None:
            self._ended = True
            self._stream.finish()
        else:
            self._stream.accept(block)
            seconds_before = self._num_samples // self._stream.sample_rate
            self._num_samples += len(block)
            self._level_dbfs, _ = loudness_db(as_waveform(block), floor_db=_QUIETEST_DBFS)
            if self._every_second is not None and self._num_samples // self._stream.sample_rate > seconds_before:
                self._every_second(self._stream)
        # Utterances are told of by events; nobody else needs their segments.
        self._stream.take_segments()
        self._events.extend(self._stream.take_events())
        self._busy_s += time.perf_counter() - begun_s

    def _raise_error(self) -> None:
        if self._error is not None:
            error, self._error = self._error, None
            raise error

    def _run_thread(self, handler: EventHandler) -> None:
        try:
            self.run(handler)
        except BaseException as error:
            self._error = error
        finally:
            atexit.unregister(self._stop_at_exit)

    def _stop_at_exit(self) -> None:
        self.close()

    def _end_thread(self) -> None:
        for executor in (self._executor, self._cancelled):
            if executor is not None:
                executor.shutdown()
        self._executor = self._cancelled = None
