"""Export: the graph computes what the student computes, chunk by chunk, and the runtime reads the bundle."""

from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("onnx")

import onnxruntime  # noqa: E402

from edgeasr.errors import ConfigError  # noqa: E402
from edgeasr.train.export import export_bundle, load_student  # noqa: E402
from edgeasr.train.loop import train  # noqa: E402
from edgeasr.train.recipe import read_recipe  # noqa: E402
from edgeasr.train.student import Student  # noqa: E402


def run_graph(bundle, features: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(str(bundle.model_path), providers=["CPUExecutionProvider"])
    state = {s.name: np.full(s.shape, s.initial_value, s.dtype) for s in bundle.model.states}
    outputs = [bundle.model.output_name, *(s.output_name for s in bundle.model.states)]
    rows = []
    for start in range(0, features.shape[1], bundle.model.chunk_frames):
        chunk = features[:, start : start + bundle.model.chunk_frames]
        log_probs, *new = session.run(outputs, {bundle.model.input_name: chunk, **state})
        rows.append(log_probs[0])
        state = dict(zip(state, new, strict=True))
    return np.concatenate(rows)


@pytest.mark.parametrize(("precision", "tolerance"), [("float32", 1e-4), ("int8", 0.2)])
def test_graph_equals_student(tone_recipe, tmp_path, precision, tolerance):
    recipe = read_recipe(tone_recipe)
    torch.manual_seed(0)
    student = Student(recipe.student).eval()
    bundle = export_bundle(student, recipe, tmp_path / "bundle", precision=precision)
    features = torch.randn(1, 5 * student.config.chunk_feature_frames, 80)
    with torch.no_grad():
        expected = student(features, student.initial_state(1))[0][0].numpy()
    found = run_graph(bundle, features.numpy())
    assert np.abs(found - expected).max() <= tolerance
    assert bundle.model.precision == precision
    num_weights = sum(p.numel() for p in student.parameters())
    assert bundle.files[bundle.model.weights_file].bytes >= num_weights * (4 if precision == "float32" else 1) // 2
    assert bundle.card["parameters"] == sum(p.numel() for p in student.parameters())


def test_quantised_weights_use_seven_bits(tone_recipe, tmp_path):
    import onnx

    recipe = read_recipe(tone_recipe)
    bundle = export_bundle(Student(recipe.student), recipe, tmp_path / "bundle")
    weights = [
        onnx.numpy_helper.to_array(t)
        for t in onnx.load(str(bundle.model_path)).graph.initializer
        if t.data_type == onnx.TensorProto.INT8 and len(t.dims) == 2
    ]
    assert len(weights) >= 7 * recipe.student.num_blocks
    assert all(np.abs(w.astype(int)).max() <= 64 for w in weights)


def test_graph_has_no_operator_that_rounds_by_processor(tone_recipe, tmp_path):
    import onnx

    recipe = read_recipe(tone_recipe)
    bundle = export_bundle(Student(recipe.student), recipe, tmp_path / "bundle")
    operators = {node.op_type for node in onnx.load(str(bundle.model_path)).graph.node}
    assert "DynamicQuantizeMatMul" in operators
    assert not operators & {"Softmax", "LogSoftmax"}


def test_a_trained_run_exports_and_transcribes(tone_recipe, tone_data, tmp_path):
    from edgeasr import Recognizer

    recipe = read_recipe(tone_recipe)
    with pytest.raises(ConfigError, match="train first"):
        load_student(tmp_path / "checkpoint.pt", recipe)
    train(recipe, run_dir=tmp_path, data_dir=tone_data, cache_dir=tmp_path / "cache", num_threads=1)
    student, step = load_student(tmp_path / "checkpoint.pt", recipe)
    assert step == recipe.optimizer.steps
    # Checkpoints of before there were these settings.
    checkpoint = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    del checkpoint["recipe"]["student"]["full_attention"]
    torch.save(checkpoint, tmp_path / "old.pt")
    assert load_student(tmp_path / "old.pt", recipe)[1] == step
    assert export_bundle(student, recipe, tmp_path / "bundle").name == recipe.name
    named = replace(recipe, release=replace(recipe.release, name="other"))
    assert export_bundle(student, named, tmp_path / "named").name == "other"
    transcript = Recognizer(tmp_path / "bundle").transcribe(tone_data / "speech" / "0.flac")
    assert transcript.duration > 0.1
