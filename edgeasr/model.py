"""The acoustic model: an ONNX session that follows the contract in the bundle. Features in, log-probs out.

`AcousticModel` is immutable and shared by all streams; an `AcousticStream` holds the states of one.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime

from edgeasr.bundle import Bundle, StateConfig
from edgeasr.errors import BundleError, ConfigError, InputError

_ONNX_TYPES = {
    "float32": "tensor(float)",
    "float16": "tensor(float16)",
    "int32": "tensor(int32)",
    "int64": "tensor(int64)",
}


class AcousticModel:
    """The model of a bundle, loaded. Immutable; any number of streams and threads may share it."""

    def __init__(self, bundle: Bundle, *, num_threads: int = 1) -> None:
        """Loads the model and checks it against the bundle's description.

        Args:
            bundle: The bundle; its `model` is the contract.
            num_threads: Threads for one step; with one, streams in several threads still run side by side.

        Raises:
            BundleError: The file is no model that ONNX Runtime can load, or not the one described.
            ConfigError: `num_threads` is less than one.
        """
        if num_threads < 1:
            raise ConfigError(f"num_threads is {num_threads}, expected at least 1")
        self.config = bundle.model
        self.num_mel_bins = bundle.frontend.num_mel_bins
        self.vocab_size = len(bundle.tokens)
        self.session = _load(bundle, num_threads)
        self._check(bundle)

    def start(self) -> AcousticStream:
        """Returns a new stream of the model."""
        return AcousticStream(self)

    def _check(self, bundle: Bundle) -> None:
        config, bins = self.config, self.num_mel_bins
        window = (config.window_frames, bins) if config.layout == "BTF" else (bins, config.window_frames)
        inputs: dict[str, tuple[str, tuple[int, ...]]] = {}
        outputs: dict[str, tuple[str, tuple[int, ...]]] = {}
        inputs[config.input_name] = ("tensor(float)", (1, *window))
        outputs[config.output_name] = ("tensor(float)", (1, config.rows_per_chunk, self.vocab_size))
        for state in config.states:
            inputs[state.name] = outputs[state.output_name] = (_ONNX_TYPES[state.dtype], state.shape)
        for kind, expected, tensors in (
            ("input", inputs, self.session.get_inputs()),
            ("output", outputs, self.session.get_outputs()),
        ):
            found = {tensor.name: tensor for tensor in tensors}
            if kind == "input" and (unknown := sorted(found.keys() - expected.keys())):
                raise BundleError(f"{bundle.model_path}: config.json does not describe the inputs {unknown}")
            for name, (onnx_type, shape) in expected.items():
                if name not in found:
                    raise BundleError(f"{bundle.model_path} has no {kind} {name!r}, which config.json describes")
                if found[name].type != onnx_type or not _fits(found[name].shape, shape):
                    raise BundleError(
                        f"{bundle.model_path}: {kind} {name!r} is {found[name].type} {found[name].shape}, "
                        f"config.json says {onnx_type} {list(shape)}"
                    )


class AcousticStream:
    """The model at work on one stream of features: an accept / finish / reset machine with one owner.

    Features are gathered to the model's own chunks, so any cut of them gives the same log-probs, bit for bit. States go
    back and forth between two sets of buffers that are bound to the session once: a step allocates nothing.
    """

    def __init__(self, model: AcousticModel) -> None:
        """Starts a stream; `AcousticModel.start` is the way to call this."""
        self._config = config = model.config
        self._num_mel_bins = model.num_mel_bins
        self._session = model.session
        bins, frames = model.num_mel_bins, config.window_frames
        if config.layout == "BTF":
            self._input = np.empty((1, frames, bins), np.float32)
            self._window = self._input[0]
        else:
            self._input = np.empty((1, bins, frames), np.float32)
            self._window = self._input[0].T
        self._output = np.empty((1, config.rows_per_chunk, model.vocab_size), np.float32)
        self._states = [_allocate(config.states), _allocate(config.states)]
        self._bindings = [self._bind(*self._states), self._bind(*reversed(self._states))]
        self.reset()

    def accept(self, features: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Takes feature frames and returns the log-probs of the chunks that are complete.

        Args:
            features: (num_frames, num_mel_bins) float32.

        Returns:
            (num_rows, vocab_size) float32; `output_kind` of the model says whether log-probs or logits.

        Raises:
            InputError: Another number of bins.
        """
        if features.ndim != 2 or features.shape[1] != self._num_mel_bins:
            raise InputError(f"the features have shape {features.shape}, expected (num_frames, {self._num_mel_bins})")
        outputs = []
        taken = 0
        while taken < len(features):
            count = min(len(self._window) - self._filled, len(features) - taken)
            self._window[self._filled : self._filled + count] = features[taken : taken + count]
            self._filled += count
            taken += count
            if self._filled == len(self._window):
                outputs.append(self._step(self._config.rows_per_chunk))
        return self._joined(outputs)

    def finish(self) -> npt.NDArray[np.float32]:
        """Returns the log-probs of the last frames; their chunk is padded and the surplus dropped."""
        outputs = []
        while (num_waiting := self._filled - self._config.left_context_frames) > 0:
            self._window[self._filled :] = self._config.pad_value
            num_frames = min(num_waiting, self._config.chunk_frames)
            outputs.append(self._step(-(-num_frames // self._config.subsampling_factor)))
        return self._joined(outputs)

    def reset(self) -> None:
        """Goes back to the start of a stream."""
        self._filled = self._config.left_context_frames
        self._window[: self._filled] = self._config.pad_value
        self._turn = 0
        for state, buffer in zip(self._config.states, self._states[0], strict=True):
            buffer.fill(state.initial_value)

    def _step(self, num_rows: int) -> npt.NDArray[np.float32]:
        """Runs the model on the window, moves on by a chunk, and returns the first rows of the output."""
        self._session.run_with_iobinding(self._bindings[self._turn])
        self._turn = 1 - self._turn
        chunk = self._config.chunk_frames
        self._window[:-chunk] = self._window[chunk:]
        self._filled -= chunk
        return self._output[0, :num_rows].copy()

    def _joined(self, outputs: list[npt.NDArray[np.float32]]) -> npt.NDArray[np.float32]:
        if len(outputs) == 1:
            return outputs[0]
        return np.concatenate(outputs) if outputs else self._output[0, :0]

    def _bind(self, before: list[npt.NDArray[Any]], after: list[npt.NDArray[Any]]) -> Any:
        """Binds the session's tensors to the buffers, for a step from one set of states to the other."""
        config = self._config
        binding = self._session.io_binding()
        inputs = [(config.input_name, self._input)]
        inputs += [(state.name, buffer) for state, buffer in zip(config.states, before, strict=True)]
        outputs = [(config.output_name, self._output)]
        outputs += [(state.output_name, buffer) for state, buffer in zip(config.states, after, strict=True)]
        for bind, tensors in ((binding.bind_input, inputs), (binding.bind_output, outputs)):
            for name, buffer in tensors:
                bind(name, "cpu", 0, buffer.dtype.type, buffer.shape, buffer.ctypes.data)
        return binding


def _load(bundle: Bundle, num_threads: int) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = num_threads
    options.inter_op_num_threads = 1
    # A thread that spins while it waits for the next chunk of sound warms the board for nothing.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # The level above rearranges convolutions into blocks as wide as the processor's vectors, and so rounds differently
    # on processors with and without AVX-512. The models here are no faster for it, and load slower.
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(str(bundle.model_path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime's errors have no common root of their own
        reason = str(error).strip().splitlines()[0]
        raise BundleError(f"{bundle.model_path} cannot be loaded by ONNX Runtime: {reason}") from error


def _fits(found: list[int | str | None], expected: tuple[int, ...]) -> bool:
    """Whether a tensor's declared shape admits the expected one; a size that is not a number admits any."""
    return len(found) == len(expected) and all(
        not isinstance(size, int) or size == wanted for size, wanted in zip(found, expected, strict=True)
    )


def _allocate(states: tuple[StateConfig, ...]) -> list[npt.NDArray[Any]]:
    return [np.empty(state.shape, state.dtype) for state in states]
