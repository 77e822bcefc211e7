"""A transducer of four tokens in the files and with the tensors that sherpa-onnx uses, small enough to see through.

The encoder keeps every fourth frame of features, projected to as many values as there are tokens; the decoder adds a
row of a table for each of the last two tokens; the joiner adds both. One state counts the encoder's steps.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

TOKENS = ("<blk>", "▁A", "B", "▁B")
WINDOW, STEP = 45, 32


def write_transducer(folder: Path, seed: int = 0) -> Path:
    """Writes the files into the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    size = len(TOKENS)
    project = rng.normal(0, 0.3, (80, size)).astype(np.float32)
    table = rng.normal(0, 1.0, (size, size)).astype(np.float32)
    (folder / "tokens.txt").write_text("".join(f"{token} {i}\n" for i, token in enumerate(TOKENS)))

    def constants(**values: list[int]) -> list[onnx.TensorProto]:
        return [numpy_helper.from_array(np.array(value, np.int64), name) for name, value in values.items()]

    def save(name: str, nodes, inputs, outputs, initializers, metadata) -> None:
        graph = helper.make_graph(nodes, name, inputs, outputs, initializers)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
        helper.set_model_props(model, {key: str(value) for key, value in metadata.items()})
        onnx.save(model, folder / f"{name}.onnx")

    value = helper.make_tensor_value_info
    save(
        "encoder",
        [
            helper.make_node("Slice", ["x", "begin", "end", "axis", "step"], ["kept"]),
            helper.make_node("MatMul", ["kept", "project"], ["encoder_out"]),
            helper.make_node("Add", ["cached_steps", "one"], ["new_cached_steps"]),
        ],
        [value("x", TensorProto.FLOAT, [1, WINDOW, 80]), value("cached_steps", TensorProto.INT64, [1])],
        [value("encoder_out", TensorProto.FLOAT, [1, 8, size]), value("new_cached_steps", TensorProto.INT64, [1])],
        [
            numpy_helper.from_array(project, "project"),
            *constants(begin=[0], end=[STEP], axis=[1], step=[4], one=[1]),
        ],
        {"T": WINDOW, "decode_chunk_len": STEP},
    )
    save(
        "decoder",
        [
            helper.make_node("Gather", ["table", "y"], ["rows"]),
            helper.make_node("ReduceSum", ["rows", "axes"], ["decoder_out"], keepdims=0),
        ],
        [value("y", TensorProto.INT64, ["N", 2])],
        [value("decoder_out", TensorProto.FLOAT, ["N", size])],
        [numpy_helper.from_array(table, "table"), *constants(axes=[1])],
        {"context_size": 2, "vocab_size": size},
    )
    save(
        "joiner",
        [helper.make_node("Add", ["encoder_out", "decoder_out"], ["logit"])],
        [value("encoder_out", TensorProto.FLOAT, ["N", size]), value("decoder_out", TensorProto.FLOAT, ["N", size])],
        [value("logit", TensorProto.FLOAT, ["N", size])],
        [],
        {"joiner_dim": size},
    )
    return folder
