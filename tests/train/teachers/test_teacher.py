"""Teachers: what they say of a clip, against searches through all paths and, where it is at hand, a real one."""

import importlib.util
import itertools
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from transducers import STEP, TOKENS, WINDOW, write_transducer

from edgeasr.errors import ConfigError

torch = pytest.importorskip("torch")

from edgeasr.train.clips import read_audio, resample  # noqa: E402
from edgeasr.train.export import export_bundle  # noqa: E402
from edgeasr.train.loop import train  # noqa: E402
from edgeasr.train.manifest import read_manifest  # noqa: E402
from edgeasr.train.recipe import ENGLISH_TOKENS, TokensConfig, read_recipe  # noqa: E402
from edgeasr.train.teachers.teacher import TeacherConfig, ctc_said, fingerprint, load_teacher, log_softmax  # noqa: E402
from edgeasr.train.teachers.transducer import OnnxTransducer  # noqa: E402

RATE = 16000


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_transducer(tmp_path_factory.mktemp("data") / "teacher")


@pytest.fixture(scope="module")
def transducer(folder):
    return OnnxTransducer(folder)


def sound(seconds=1.0):
    return np.random.default_rng(1).normal(0, 0.1, int(seconds * RATE)).astype(np.float32)


def frames(count):
    return np.random.default_rng(2).normal(0, 1.5, (count, len(TOKENS))).astype(np.float32)


def score(teacher, encoded, path):
    """The log of a path's probability, frame by frame."""
    rows = teacher.posteriors(encoded, np.array(path))
    return float(rows[np.arange(len(path)), path].sum())


def test_posteriors_are_those_after_the_tokens_before(transducer):
    encoded = frames(4)
    rows = transducer.posteriors(encoded, np.array([2, 0, 3, 0]))
    for row, frame, history in zip(rows, encoded, ([-1, 0], [0, 2], [0, 2], [2, 3]), strict=True):
        decoded = transducer._decoder.run(None, {"y": np.array([history])})[0][0]
        assert row == pytest.approx(log_softmax(frame + decoded), abs=1e-5)


def test_the_best_path_takes_the_best_token_of_each_frame(transducer):
    encoded = frames(30)
    path = transducer.best_path(encoded)
    assert np.array_equal(transducer.posteriors(encoded, path).argmax(1), path)
    assert 0 < np.count_nonzero(path) < 30


@pytest.mark.parametrize("reference", [[], [2], [3, 3], [1, 2, 3], [2, 1, 1, 2, 3]])
def test_the_path_of_a_reference_is_the_best_of_all_its_paths(transducer, reference):
    encoded = frames(5)
    paths = [
        tuple(reference[places.index(frame)] if frame in places else 0 for frame in range(5))
        for places in itertools.combinations(range(5), len(reference))
    ]
    best = max(paths, key=lambda path: score(transducer, encoded, path))
    assert tuple(transducer.reference_path(encoded, reference)) == best


def test_a_reference_that_does_not_fit_has_no_path(transducer):
    assert transducer.reference_path(frames(2), [1, 2, 3]) is None


def test_the_search_adds_up_the_paths_of_a_reading(transducer):
    encoded = frames(4)
    totals: dict[tuple[int, ...], float] = {}
    for path in itertools.product(range(len(TOKENS)), repeat=4):
        prefix = tuple(token for token in path if token)
        totals[prefix] = np.logaddexp(totals.get(prefix, -np.inf), score(transducer, encoded, path))
    best = sorted(totals.items(), key=lambda item: -item[1])
    found = transducer.search(encoded, 400)
    assert [tuple(ids) for ids, _ in found[:5]] == [prefix for prefix, _ in best[:5]]
    assert [value for _, value in found[:5]] == pytest.approx([value for _, value in best[:5]], abs=1e-4)


def test_texts_are_cut_into_the_most_frequent_tokens(transducer):
    # "▁B" is a token, so "b" needs no "▁" of its own; "x" is none.
    assert transducer.cut("b ab") == [3, 1, 2]
    assert transducer.cut("axb") == [1, 2]
    assert transducer.text(np.array([0, 3, 0, 1, 2])) == "B AB"


def test_what_is_heard(transducer, folder):
    said = transducer.hear(sound(), RATE, "ab")
    # One second and 0.64 s of silence in windows of 45 frames, 32 apart, eight frames each.
    num_frames = 8 * ((164 - WINDOW) // STEP + 1)
    assert said.features.shape == said.log_probs.shape == (num_frames, len(TOKENS))
    assert np.exp(said.log_probs).sum(1) == pytest.approx(1.0, abs=1e-5)
    assert said.readings == (transducer.text(said.token_ids),)
    assert said.scores == (pytest.approx(score(transducer, said.features, said.token_ids), rel=1e-5),)
    followed = OnnxTransducer(folder, follow_text=True, n_best=3)
    along = followed.hear(sound(), RATE, "ab")
    assert along.token_ids[along.token_ids != 0].tolist() == [1, 2]
    assert len(along.readings) == 3
    assert list(along.scores) == sorted(along.scores, reverse=True)
    assert np.array_equal(followed.hear(sound(), RATE, None).token_ids, said.token_ids)


def test_the_real_one_hears_what_is_said(data_dir):
    """Words of real clips, and, where it is installed, sherpa-onnx's: it differs only in an 8-bit joiner."""
    teacher = OnnxTransducer(data_dir / "teacher", follow_text=True)
    peer = None
    if importlib.util.find_spec("sherpa_onnx"):
        from edgeasr.train.teachers.transcriber import SherpaOnnxTranscriber

        peer = SherpaOnnxTranscriber(data_dir / "teacher")
    clips = read_manifest(data_dir / "speech" / "librispeech.dev.jsonl")[40:121:40]
    for clip in clips:
        waveform = resample(*read_audio(clip.audio), RATE)
        said = teacher.hear(waveform, RATE, clip.text)
        # The path of the transcript has the transcript's words, and what was heard shares most of them.
        assert teacher.text(said.token_ids).lower() == clip.text
        words = set(said.readings[0].lower().split())
        assert len(words & set(clip.text.split())) > 0.7 * len(words)
        if peer is not None:
            assert said.readings[0] == peer.transcribe(waveform, RATE)


@pytest.mark.parametrize("whole", [False, True])
def test_a_student_teaches(tone_recipe, tone_data, tmp_path, whole):
    text = tone_recipe.read_text().replace("steps = 8", "steps = 1")
    if whole:
        text = text.replace("[student]\n", "[student]\nfull_attention = true\ncentred_convolutions = true\n")
    tone_recipe.write_text(text)
    recipe = read_recipe(tone_recipe)
    student = train(recipe, run_dir=tmp_path / "big", data_dir=tone_data, cache_dir=tmp_path / "cache", num_threads=1)
    config = TeacherConfig(kind="student", path="big")
    teacher = load_teacher(config, tmp_path, recipe.tokens)
    said = teacher.hear(sound(1.0), RATE, None)
    assert teacher.tokens == recipe.tokens.tokens
    assert (teacher.token_frames.step_s, teacher.feature_frames.step_s) == pytest.approx((0.02, 0.04))
    assert said.log_probs.shape == (50, 5)
    assert said.features.shape == (25, student.config.dim)
    assert np.exp(said.log_probs).sum(1) == pytest.approx(1.0, abs=1e-5)
    if whole:
        with pytest.raises(ConfigError, match="tones cannot stream"):
            export_bundle(student, recipe, tmp_path / "bundle")


def test_several_readings_of_a_ctc_model_are_the_most_probable_texts():
    tokens = ("_", "|", "a", "b")
    log_probs = np.log(np.array([[0.3, 0.1, 0.4, 0.2], [0.3, 0.05, 0.3, 0.35], [0.5, 0.1, 0.3, 0.1]], np.float32))
    totals: dict[str, float] = {}
    for path in itertools.product(range(4), repeat=3):
        emitted = [token for token, _ in itertools.groupby(path) if token != 0]
        text = " ".join("".join(tokens[token] for token in emitted).replace("|", " ").split())
        totals[text] = totals.get(text, 0.0) + np.exp(sum(log_probs[t, token] for t, token in enumerate(path)))
    features = np.zeros((3, 1), np.float32)
    said = ctc_said(features, log_probs, tokens, 0, "|", n_best=40)
    best = sorted(totals, key=lambda text: -totals[text])
    assert said.readings[:7] == tuple(best[:7])
    assert np.exp(said.scores[:7]) == pytest.approx([totals[text] for text in best[:7]], rel=1e-4)
    assert len(ctc_said(features, log_probs, tokens, 0, "|", n_best=2).readings) == 2
    assert ctc_said(features, log_probs, tokens, 0, "|").readings == ("ab",)
    assert ctc_said(features, log_probs[:0], tokens, 0, "|", n_best=2).readings == ("",)


def test_a_bundle_teaches_its_texts():
    teacher = load_teacher(TeacherConfig(kind="text", path="en-small"), Path("nowhere"), TokensConfig())
    said = teacher.hear(np.zeros(RATE, np.float32), RATE, None)
    assert len(said.readings) == len(said.scores) == 1
    assert said.log_probs.size == said.features.size == 0


def test_any_ctc_model_of_transformers_teaches(tmp_path):
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    vocabulary = {"<pad>": 0, "<unk>": 1, "|": 2, "A": 3, "B": 4, "é": 5}
    (tmp_path / "vocab.json").write_text(json.dumps(vocabulary))
    torch.manual_seed(0)
    config = transformers.Wav2Vec2Config(
        vocab_size=6, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16,
        conv_dim=(8, 8), conv_kernel=(10, 4), conv_stride=(160, 2), num_conv_pos_embeddings=4,
        num_conv_pos_embedding_groups=2, pad_token_id=0,
    )  # fmt: skip
    model = transformers.Wav2Vec2ForCTC(config).eval()
    model.save_pretrained(tmp_path)
    transformers.Wav2Vec2CTCTokenizer(tmp_path / "vocab.json", pad_token="<pad>").save_pretrained(tmp_path)
    teacher = load_teacher(TeacherConfig(kind="ctc", path="."), tmp_path, TokensConfig())
    waveform = sound(1.0)
    said = teacher.hear(waveform, RATE, None)
    with torch.no_grad():
        levelled = torch.from_numpy((waveform - waveform.mean()) / np.sqrt(waveform.var() + 1e-7))
        probs = model(levelled[None]).logits[0].softmax(-1).numpy()
    # Blank, delimiter, a and b, of what is left without the two tokens that the student lacks.
    kept = probs[:, [0, 2, 3, 4]] / probs[:, [0, 2, 3, 4]].sum(1, keepdims=True)
    mapped = [ENGLISH_TOKENS.index(token) for token in ("<blank>", "|", "a", "b")]
    assert np.exp(said.log_probs[:, mapped]) == pytest.approx(kept, abs=1e-5)
    assert np.exp(said.log_probs).sum(1) == pytest.approx(1.0, abs=1e-5)
    assert said.features.shape == (len(probs), 16)
    assert teacher.token_frames.step_s == pytest.approx(0.02)
    with pytest.raises(ConfigError, match="none of its tokens"):
        load_teacher(TeacherConfig(kind="ctc", path="."), tmp_path, TokensConfig(tokens=("<blank>", "|", "ب")))
    (tmp_path / "config.json").unlink()
    with pytest.raises(ConfigError, match="holds no CTC model"):
        load_teacher(TeacherConfig(kind="ctc", path="."), tmp_path, TokensConfig())


def test_fingerprints_tell_files_and_settings_apart(tmp_path):
    config, tokens = TeacherConfig(kind="transducer", path="teacher"), TokensConfig()
    first = fingerprint(config, write_transducer(tmp_path / "teacher").parent, tokens)
    (tmp_path / "teacher" / "README.md").write_text("read me")
    there = TeacherConfig(kind="transducer", path=str(tmp_path / "teacher"))
    assert fingerprint(there, tmp_path, TokensConfig(word_delimiter="'")) == first
    assert fingerprint(replace(config, top_k=3), tmp_path, tokens) != first
    # What is kept of a CTC model is in the student's tokens.
    ctc = replace(config, kind="ctc")
    assert fingerprint(ctc, tmp_path, tokens) != fingerprint(ctc, tmp_path, TokensConfig(word_delimiter="'"))
    write_transducer(tmp_path / "teacher", seed=1)
    assert fingerprint(config, tmp_path, tokens) != first


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"kind": "parrot"}, "kind must be one of transducer"),
        ({"posteriors": "worst"}, "posteriors must be one of best"),
        ({"top_k": -1}, "top_k must be 0 or more"),
    ],
)
def test_teachers_that_cannot_be_are_refused(values, message):
    with pytest.raises(ConfigError, match=message):
        TeacherConfig(**{"kind": "transducer", "path": "teacher", **values})


def test_a_teacher_that_is_not_there_is_named(tmp_path):
    for kind in ("transducer", "student", "ctc"):
        with pytest.raises(ConfigError, match="nowhere"):
            fingerprint(TeacherConfig(kind=kind, path="nowhere"), tmp_path, TokensConfig())
    (tmp_path / "nowhere").mkdir()
    with pytest.raises(ConfigError, match=r"encoder\.int8\.onnx not found"):
        load_teacher(TeacherConfig(kind="transducer", path="nowhere"), tmp_path, TokensConfig())
