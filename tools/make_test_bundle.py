"""Writes the two small bundles of the tests: `python tools/make_test_bundle.py tests/golden`. Needs the onnx package.

Their weights are random, with a fixed seed, and their words mean nothing; but every stage has honest work with them.

`tiny` keeps the contract of the student that ships: characters, chunks of 400 ms, states. Two frames are joined and go
through an int8 matrix, attention over cached keys and values, a convolution over cached frames, and a head.
`windowed` keeps another contract, such as importers of other people's models will meet: subwords, logits, bins before
frames, and a window with left context and look-ahead instead of states.
"""

from __future__ import annotations

import argparse
import math
import string
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from edgeasr.bundle import DecoderConfig, ModelConfig, StateConfig, TimingConfig, write_bundle
from edgeasr.config import CtcBeamConfig, LogMelConfig
from edgeasr.tokens import TokenTable

SEED = 20240501
OPSET = 17
IR_VERSION = 8
FLOOR = math.log(LogMelConfig().log_floor)
README = "# {name}\n\nA bundle for tests: random weights, no speech. Made by `tools/make_test_bundle.py`.\n"


class Graph:
    """An ONNX graph under construction; names of tensors go in and out of its methods."""

    def __init__(self, seed: int) -> None:
        self.random = np.random.default_rng(seed)
        self.nodes: list[Any] = []
        self.constants: list[Any] = []
        self.inputs: list[Any] = []
        self.outputs: list[Any] = []

    def input(self, name: str, shape: tuple[int, ...]) -> str:
        """Adds a float32 input of the graph."""
        self.inputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape))
        return name

    def output(self, tensor: str, name: str, shape: tuple[int, ...]) -> None:
        """Makes a tensor an output of the graph."""
        self.nodes.append(helper.make_node("Identity", [tensor], [name]))
        self.outputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape))

    def constant(self, value: npt.ArrayLike, dtype: npt.DTypeLike = np.float32) -> str:
        """Adds a constant tensor."""
        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(value, dtype), name))
        return name

    def weights(self, *shape: int, fan_in: int) -> npt.NDArray[np.float32]:
        """Random weights whose sums over `fan_in` terms keep the scale."""
        return self.random.normal(0, 1 / math.sqrt(fan_in), shape).astype(np.float32)

    def op(self, kind: str, *inputs: str, num_outputs: int = 1, **attributes: Any) -> Any:
        """Adds a node; returns the name of its output, or names of its outputs."""
        outputs = [f"t{len(self.nodes)}_{number}" for number in range(num_outputs)]
        self.nodes.append(helper.make_node(kind, inputs, outputs, **attributes))
        return outputs[0] if num_outputs == 1 else outputs

    def quantised_matmul(self, tensor: str, rows: int, columns: int) -> str:
        """As quantised students do it: activations on the fly, weights in seven of eight bits."""
        weights = self.weights(rows, columns, fan_in=rows)
        scale = np.abs(weights).max() / 63
        values, activation_scale, zero = self.op("DynamicQuantizeLinear", tensor, num_outputs=3)
        product = self.op("MatMulInteger", values, self.constant(np.round(weights / scale), np.int8), zero)
        scales = self.op("Mul", activation_scale, self.constant(scale))
        return str(self.op("Mul", self.op("Cast", product, to=TensorProto.FLOAT), scales))

    def last(self, tensor: str, count: int, axis: int) -> str:
        """The last entries along an axis."""
        bounds = [self.constant([value], np.int64) for value in (-count, 2**31 - 1, axis)]
        return str(self.op("Slice", tensor, *bounds))

    def save(self, path: Path) -> None:
        """Checks the graph and writes it."""
        graph = helper.make_graph(self.nodes, "step", self.inputs, self.outputs, self.constants)
        opsets = [helper.make_opsetid("", OPSET)]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION, producer_name="edgeasr tests")
        onnx.checker.check_model(model)
        onnx.save(model, str(path))


def tiny_model(path: Path, vocab_size: int) -> list[StateConfig]:
    """From features (1, 40, 80) to log_probs (1, 20, vocab_size)."""
    graph = Graph(SEED)
    rows, width, past_keys, past_frames = 20, 24, 30, 4
    features = graph.input("features", (1, 2 * rows, 80))
    # Log-mel values of speech lie around -6 and spread by about 4.
    scaled = graph.op("Mul", graph.op("Add", features, graph.constant(6.0)), graph.constant(0.25))
    joined = graph.op("Reshape", scaled, graph.constant([1, rows, 160], np.int64))
    hidden = graph.op("Tanh", graph.quantised_matmul(joined, 160, width))

    cached = graph.input("keys", (1, past_keys, width))
    keys = graph.op("Concat", cached, hidden, axis=1)
    graph.output(graph.last(keys, past_keys, axis=1), "new_keys", (1, past_keys, width))
    queries = graph.op("MatMul", hidden, graph.constant(graph.weights(width, width, fan_in=width)))
    attention = graph.op("Softmax", graph.op("MatMul", queries, graph.op("Transpose", keys, perm=[0, 2, 1])), axis=-1)
    hidden = graph.op("Add", hidden, graph.op("MatMul", attention, keys))

    cached = graph.input("frames", (1, width, past_frames))
    frames = graph.op("Concat", cached, graph.op("Transpose", hidden, perm=[0, 2, 1]), axis=2)
    graph.output(graph.last(frames, past_frames, axis=2), "new_frames", (1, width, past_frames))
    kernel = graph.constant(graph.weights(width, 1, past_frames + 1, fan_in=1))
    mixed = graph.op("Transpose", graph.op("Conv", frames, kernel, group=width), perm=[0, 2, 1])

    head = graph.op(
        "MatMul", graph.op("Tanh", mixed), graph.constant(4 * graph.weights(width, vocab_size, fan_in=width))
    )
    bias = np.zeros(vocab_size)
    bias[0], bias[1] = 4.0, 3.5  # blanks and word delimiters, as often as in speech
    log_probs = graph.op("LogSoftmax", graph.op("Add", head, graph.constant(bias)), axis=-1)
    graph.output(log_probs, "log_probs", (1, rows, vocab_size))
    graph.save(path)
    return [
        StateConfig(name="keys", output_name="new_keys", shape=(1, past_keys, width)),
        StateConfig(name="frames", output_name="new_frames", shape=(1, width, past_frames), initial_value=0.5),
    ]


def windowed_model(path: Path, vocab_size: int) -> None:
    """From features (1, 80, 44) to logits (1, 8, vocab_size): 4 frames of context, a chunk of 32, 8 of look-ahead."""
    graph = Graph(SEED + 1)
    features = graph.input("audio_signal", (1, 80, 44))
    scaled = graph.op("Mul", graph.op("Add", features, graph.constant(6.0)), graph.constant(0.25))
    hidden = graph.op("Tanh", graph.op("Conv", scaled, graph.constant(graph.weights(8, 80, 1, fan_in=80))))
    kernel = graph.constant(6 * graph.weights(vocab_size, 8, 16, fan_in=128))
    bias = np.zeros(vocab_size)
    bias[-1] = 6.0  # blank
    logits = graph.op("Conv", hidden, kernel, graph.constant(bias), strides=[4])
    graph.output(graph.op("Transpose", logits, perm=[0, 2, 1]), "logits", (1, 8, vocab_size))
    graph.save(path)


def make_tiny(path: Path) -> None:
    names = ["<blank>", "|", "'", *string.ascii_lowercase]
    with tempfile.TemporaryDirectory() as folder:
        model_path = Path(folder) / "model.onnx"
        states = tiny_model(model_path, len(names))
        write_bundle(
            path,
            name="tiny",
            version="1",
            language="en",
            licence="Apache-2.0",
            description="Random weights in the shape of the student, for tests",
            frontend=LogMelConfig(),
            tokens=TokenTable(names, blank_id=0, word_delimiter="|"),
            model=ModelConfig(
                file="model.int8.onnx",
                precision="int8",
                chunk_frames=40,
                pad_value=FLOOR,
                subsampling_factor=2,
                states=tuple(states),
            ),
            model_path=model_path,
            readme=README.format(name="tiny"),
            timing=TimingConfig(word_start_offset_s=-0.04, word_end_offset_s=0.02),
            card={"parameters": "few"},
        )


def make_windowed(path: Path) -> None:
    names = [*(f"▁{letter}" for letter in "abcdef"), *"ghijklmnop", "<blank>"]
    with tempfile.TemporaryDirectory() as folder:
        model_path = Path(folder) / "model.onnx"
        windowed_model(model_path, len(names))
        write_bundle(
            path,
            name="windowed",
            version="1",
            language="en",
            licence="Apache-2.0",
            description="Random weights behind another contract, for tests",
            frontend=LogMelConfig(padding="snip"),
            tokens=TokenTable(names, blank_id=len(names) - 1, word_delimiter="▁"),
            model=ModelConfig(
                file="model.onnx",
                precision="float32",
                input_name="audio_signal",
                layout="BFT",
                chunk_frames=32,
                left_context_frames=4,
                lookahead_frames=8,
                pad_value=FLOOR,
                subsampling_factor=4,
                output_name="logits",
                output_kind="logits",
            ),
            model_path=model_path,
            readme=README.format(name="windowed"),
            decoder=DecoderConfig(mode="greedy", beam=CtcBeamConfig(blank_id=len(names) - 1)),
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="where to put the bundles, such as tests/golden")
    folder = parser.parse_args().folder
    make_tiny(folder / "tiny")
    make_windowed(folder / "windowed")


if __name__ == "__main__":
    main()
