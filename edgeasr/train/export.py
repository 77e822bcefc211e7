"""From a trained student to a bundle: the streaming step as an ONNX graph, int8 weights, and the description.

The graph is the student's one forward function at the size of one chunk. Matrices become 8-bit integers, one scale
per output channel; activations are quantised on the fly. Weights use seven of the eight bits (`reduce_range`): on
processors without VNNI the products of unsigned and signed bytes are added in pairs in 16 bits, which full-range
weights would saturate, so that words would differ from machine to machine.
"""

from __future__ import annotations

import contextlib
import dataclasses
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from edgeasr.bundle import Bundle, ModelConfig, StateConfig, write_bundle
from edgeasr.errors import ConfigError, MissingDependencyError
from edgeasr.tokens import TokenTable
from edgeasr.train.recipe import Recipe
from edgeasr.train.student import Student, StudentConfig

OPSET = 17
INPUT = "features"
OUTPUT = "log_probs"
NEW_PREFIX = "new_"


class StreamingStep(nn.Module):
    """One step of the student with its states as a flat list of tensors, as an ONNX graph takes them."""

    def __init__(self, student: Student) -> None:
        super().__init__()
        self.student = student
        self.state_names = list(student.initial_state(1))

    def forward(self, features: Tensor, *states: Tensor) -> tuple[Tensor, ...]:
        state = dict(zip(self.state_names, states, strict=True))
        log_probs, _, new_state = self.student(features, state)
        return (log_probs, *(new_state[name] for name in self.state_names))


def export_bundle(
    student: Student,
    recipe: Recipe,
    bundle_dir: Path,
    *,
    precision: Literal["int8", "float32"] = "int8",
    card: Mapping[str, Any] | None = None,
) -> Bundle:
    """Writes the bundle of a trained student.

    Args:
        student: with the weights to ship.
        recipe: what it was trained with.
        bundle_dir: the bundle's folder.
        precision: of the matrices.
        card: what is known of the training; evaluation adds its figures.

    Returns:
        The bundle, read back.

    Raises:
        ConfigError: The student hears whole clips and cannot stream.
    """
    if not student.config.streams:
        raise ConfigError(
            f"{recipe.name} cannot stream: full_attention and centred_convolutions hear the whole clip. It can teach a "
            'student that does ([teacher] kind = "student")'
        )
    model = ModelConfig(
        file=f"model.{precision}.onnx",
        weights_file=f"model.{precision}.weights",
        precision=precision,
        input_name=INPUT,
        chunk_frames=student.config.chunk_feature_frames,
        pad_value=recipe.pad_value,
        subsampling_factor=student.config.subsampling_factor,
        output_name=OUTPUT,
        states=tuple(
            StateConfig(name=name, output_name=NEW_PREFIX + name, shape=tuple(value.shape))
            for name, value in student.initial_state(1).items()
        ),
    )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "float.onnx"
        export_onnx(student, path)
        if precision == "int8":
            quantise(path, path.with_name("int8.onnx"))
            path = path.with_name("int8.onnx")
        model_path = Path(folder) / model.file
        fuse(path, model_path)
        return write_bundle(
            bundle_dir,
            name=recipe.release.name or recipe.name,
            version=recipe.release.version,
            language=recipe.release.language,
            licence=recipe.release.licence,
            description=recipe.release.description,
            frontend=recipe.frontend,
            tokens=TokenTable(
                recipe.tokens.tokens, blank_id=recipe.tokens.blank_id, word_delimiter=recipe.tokens.word_delimiter
            ),
            model=model,
            model_path=model_path,
            readme=f"# {recipe.release.name or recipe.name}\n\n{recipe.release.description}\n",
            card={
                "parameters": sum(p.numel() for p in student.parameters()),
                "trained_on": recipe.release.trained_on,
                "sets": recipe.release.sets,
                **(card or {}),
            },
        )


def export_onnx(student: Student, path: Path) -> None:
    """Writes the float32 graph of one step: features (1, chunk, mel bins) and states in, log_probs and states out."""
    step = StreamingStep(student.cpu().eval())
    features = torch.zeros(1, student.config.chunk_feature_frames, student.config.num_mel_bins)
    states = student.initial_state(1)
    traced = path.with_suffix(".traced.onnx")
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # the tracer's remarks on Python numbers: all sizes here are fixed
        torch.onnx.export(
            step,
            (features, *states.values()),
            str(traced),
            input_names=[INPUT, *states],
            output_names=[OUTPUT, *(NEW_PREFIX + name for name in states)],
            opset_version=OPSET,
            dynamo=False,
        )
    fold_constants(traced, path)
    traced.unlink()


def fold_constants(source: Path, target: Path) -> None:
    """Writes the graph with constants folded and dead nodes removed, in standard operators only."""
    import onnxruntime

    optimise(source, target, onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC, {})


def fuse(source: Path, target: Path) -> None:
    """Writes the graph with operators fused as ONNX Runtime would fuse them at each start, and its weights beside it.

    The weights' file is mapped into memory when the model is loaded. Both together, the model loads in half the time,
    and with 10 MB less at the peak.
    """
    import onnxruntime

    weights = {
        "session.optimized_model_external_initializers_file_name": target.with_suffix(".weights").name,
        "session.optimized_model_external_initializers_min_size_in_bytes": "256",
    }
    optimise(source, target, onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED, weights)


def optimise(source: Path, target: Path, level: Any, entries: Mapping[str, str]) -> None:
    """Writes the graph as ONNX Runtime makes it at a level of optimisation, with these entries of the session."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = level
    options.optimized_model_filepath = str(target)
    options.log_severity_level = 3
    for name, value in entries.items():
        options.add_session_config_entry(name, value)
    onnxruntime.InferenceSession(str(source), options, providers=["CPUExecutionProvider"])


def quantise(source: Path, target: Path) -> None:
    """Writes the graph with 8-bit matrices; convolutions stay in float32, they are few and small."""
    try:
        from onnxruntime.quantization import QuantType, quantize_dynamic
    except ImportError as error:
        raise MissingDependencyError("quantisation needs the onnx package: pip install 'edgeasr[train]'") from error
    with quiet_root_logger():
        quantize_dynamic(
            source,
            target,
            op_types_to_quantize=["MatMul"],
            weight_type=QuantType.QInt8,
            per_channel=True,
            reduce_range=True,
        )


@contextlib.contextmanager
def quiet_root_logger() -> Iterator[None]:
    """Silences onnxruntime's advice to pre-process the graph, which `fold_constants` has done."""
    import logging

    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.ERROR)
    try:
        yield
    finally:
        root.setLevel(level)


def load_student(checkpoint_path: Path, recipe: Recipe) -> tuple[Student, int]:
    """The averaged student of a checkpoint, and the number of updates it has had.

    Raises:
        ConfigError: there is no checkpoint, or it is of another student than the recipe's.
    """
    if not checkpoint_path.is_file():
        raise ConfigError(f"no checkpoint at {checkpoint_path}; train first")
    checkpoint = torch.load(checkpoint_path, map_location="cpu", weights_only=True)
    # What a checkpoint does not name came later, and was then as it is by default.
    if {**dataclasses.asdict(StudentConfig()), **checkpoint["recipe"]["student"]} != dataclasses.asdict(recipe.student):
        raise ConfigError(
            f"{checkpoint_path} holds another student than the recipe's: {checkpoint['recipe']['student']}"
        )
    student = Student(recipe.student)
    student.load_state_dict(checkpoint["average"])
    return student.eval(), int(checkpoint["step"])
