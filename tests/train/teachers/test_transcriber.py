"""Systems behind one interface: bundles, and what the peers are fed."""

from __future__ import annotations

import sys
from dataclasses import asdict
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import soundfile
from bundles import TINY

from edgeasr import Recognizer
from edgeasr.command import closed_decoder
from edgeasr.config import CommandConfig
from edgeasr.decoder import CtcBeamDecoder
from edgeasr.errors import AudioFormatError, ConfigError, MissingDependencyError
from edgeasr.train.clips import read_audio, resample
from edgeasr.train.recipe import read_recipe
from edgeasr.train.teachers import transcriber
from edgeasr.train.teachers.transcriber import (
    LIVE_SAMPLE_RATE,
    LiveTranscriber,
    StudentTranscriber,
    WordTranscriber,
    closed_grammar,
    load_bundle,
    peer_loader,
)

FILES = ("encoder.int8.onnx", "decoder.onnx", "joiner.int8.onnx", "tokens.txt")


def test_a_bundle_writes_what_its_recognizer_does(samples_dir):
    path = samples_dir / "austen-0880.flac"
    system = load_bundle(TINY, decoder="beam", beam_size=4)
    assert system.name == "tiny int8 beam 4"
    assert system.transcribe(*read_audio(path)) == Recognizer(TINY, beam_size=4).transcribe(path).text != ""


def test_a_bundle_that_is_fed_piece_by_piece_hears_the_same(samples_dir):
    waveform, sample_rate = read_audio(samples_dir / "austen-0880.flac")
    waveform = resample(waveform, sample_rate, LIVE_SAMPLE_RATE)
    system = load_bundle(TINY, decoder="greedy")
    assert isinstance(system, LiveTranscriber) and isinstance(system, WordTranscriber)
    live = system.listen()
    for begin in range(0, len(waveform), 1600):
        live.accept(waveform[begin : begin + 1600])
    expected = system.recognizer.stream(sample_rate=LIVE_SAMPLE_RATE)
    expected.accept(waveform)
    assert live.finish() == expected.finish().text != ""
    words = system.transcribe_words(waveform, LIVE_SAMPLE_RATE)
    assert " ".join(word.text for word in words) == system.transcribe(waveform, LIVE_SAMPLE_RATE)
    assert not system.calibrated


def test_a_closed_bundle_hears_the_sentences_alone(samples_dir):
    sentences = ["don't stop", "go on", "stop"]
    system = load_bundle(TINY, sentences=sentences)
    assert system.name == "tiny int8 closed"
    waveform, sample_rate = read_audio(samples_dir / "austen-0880.flac")
    assert system.transcribe(waveform, sample_rate) in sentences
    with pytest.raises(ConfigError, match="the sentences of the sets"):
        load_bundle(TINY, sentences=["قف"])


def test_a_closed_search_corrects_letters_of_any_script():
    letters = sorted(set("خلفأمام"))
    tokens = ["<blank>", "|", *letters, "ق"]
    # Each frame says a letter, with a blank after it: the last is a wrong one, and the right one far behind.
    rows = np.full((6, len(tokens)), -9.0, np.float32)
    for frame, letter in zip((0, 2, 4), "خلق", strict=True):
        rows[frame, tokens.index(letter)] = 0.0
        rows[frame + 1, 0] = 0.0
    rows -= np.log(np.exp(rows).sum(axis=1, keepdims=True))
    greedy = CtcBeamDecoder(tokens, word_delimiter="|")
    closed = closed_decoder(tokens, closed_grammar(["خلف", "أمام"]), CommandConfig(), blank_id=0, word_delimiter="|")
    assert greedy.decode(rows)[0].text == "خلق"
    assert closed.decode(rows)[0].text == "خلف"


@pytest.fixture
def run_dir(tone_recipe, tmp_path):
    """The run of a student with random weights."""
    torch = pytest.importorskip("torch")
    from edgeasr.train.student import Student

    recipe = read_recipe(tone_recipe)
    torch.manual_seed(1)
    folder = tmp_path / "tones"
    folder.mkdir()
    checkpoint = {"step": 3, "recipe": asdict(recipe), "average": Student(recipe.student).state_dict()}
    torch.save(checkpoint, folder / "checkpoint.pt")
    return folder


def test_a_student_in_pytorch(run_dir, tone_recipe, samples_dir):
    from edgeasr.features import log_mel
    from edgeasr.train.development import transcribe
    from edgeasr.train.export import load_student

    waveform, sample_rate = read_audio(samples_dir / "austen-0880.flac")
    waveform = resample(waveform, sample_rate, 16000)
    recipe = read_recipe(tone_recipe)
    greedy = StudentTranscriber(run_dir)
    assert greedy.name == "tones PyTorch float32 greedy"
    student, _ = load_student(run_dir / "checkpoint.pt", recipe)
    import torch

    with torch.no_grad():
        expected = transcribe(student, torch.from_numpy(log_mel(waveform, recipe.frontend)), recipe)
    assert greedy.transcribe(waveform, 16000) == expected != ""
    assert not isinstance(greedy, LiveTranscriber)

    # A search that keeps few texts finds another; one that may say two sentences says one of them.
    beam = StudentTranscriber(run_dir, beam_size=4)
    assert beam.name == "tones PyTorch float32 beam 4"
    assert beam.transcribe(waveform, 16000) != expected
    closed = StudentTranscriber(run_dir, sentences=["ab ba", "cab"])
    assert closed.name == "tones PyTorch float32 closed"
    assert closed.transcribe(waveform, 16000) in ("ab ba", "cab")


def test_a_student_in_pytorch_with_a_language_model(run_dir, tmp_path):
    from edgeasr.lm import LanguageModel

    (tmp_path / "a.txt").write_text("ab ba\nab cab\n")
    LanguageModel.build([tmp_path / "a.txt"]).save(tmp_path / "lm.bin")
    system = StudentTranscriber(run_dir, lm=tmp_path / "lm.bin", lm_weight=0.5)
    assert system.name == "tones PyTorch float32 beam 8 + LM"
    assert set(system.transcribe(np.zeros(8000, np.float32), 16000)) <= set("abc ")
    assert StudentTranscriber(run_dir, lm="none").name == "tones PyTorch float32 greedy"


def test_students_that_cannot_be_run(run_dir, tmp_path):
    with pytest.raises(ConfigError, match="greedy decoder has no lm_weight"):
        StudentTranscriber(run_dir, decoder="greedy", lm_weight=1.0)
    with pytest.raises(ConfigError, match="the sentences of the sets"):
        StudentTranscriber(run_dir, sentences=["xyz"])
    with pytest.raises(ConfigError, match=r"nothing/checkpoint\.pt"):
        StudentTranscriber(tmp_path / "nothing")


def test_reading_averages_channels(tmp_path):
    samples = np.random.default_rng(0).uniform(-0.5, 0.5, (22050, 2)).astype(np.float32)
    soundfile.write(tmp_path / "a.wav", samples, 22050, subtype="FLOAT")
    waveform, sample_rate = read_audio(tmp_path / "a.wav")
    assert sample_rate == 22050 and waveform.dtype == np.float32
    np.testing.assert_allclose(waveform, samples.mean(axis=1), atol=1e-7)


def test_what_cannot_be_read_is_named(tmp_path):
    (tmp_path / "a.wav").write_text("")
    with pytest.raises(AudioFormatError, match=r"a\.wav: the file is empty"):
        read_audio(tmp_path / "a.wav")
    with pytest.raises(FileNotFoundError):
        read_audio(tmp_path / "b.wav")


def test_resampling():
    waveform = np.ones(4800, np.float32)
    assert resample(waveform, 16000, 16000) is waveform
    assert len(resample(waveform, 48000, 16000)) == 1600
    assert len(resample(waveform[:0], 48000, 16000)) == 0


@pytest.mark.parametrize("name", transcriber.PEERS)
def test_a_missing_peer_names_its_package(name, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, name.replace("-", "_"), None)
    with pytest.raises(MissingDependencyError, match=f"pip install {name}$"):
        peer_loader(name, tmp_path)()


def test_sherpa_onnx_needs_its_model(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "sherpa_onnx", ModuleType("sherpa_onnx"))
    with pytest.raises(ConfigError, match=r"teacher/encoder\.int8\.onnx not found"):
        peer_loader("sherpa-onnx", tmp_path)()


class FakeOnlineRecognizer:
    """Takes what sherpa-onnx would."""

    def __init__(self, **options):
        self.options = options
        self.heard = []
        self.waiting = 3

    def create_stream(self):
        return SimpleNamespace(
            accept_waveform=lambda rate, samples: self.heard.append((rate, samples)), input_finished=lambda: None
        )

    def is_ready(self, stream):
        return self.waiting > 0

    def decode_stream(self, stream):
        self.waiting -= 1

    def get_result(self, stream):
        assert self.waiting == 0
        return "HELLO" if self.heard else ""


def test_what_sherpa_onnx_is_fed(tmp_path, monkeypatch):
    (tmp_path / "teacher").mkdir()
    for name in FILES:
        (tmp_path / "teacher" / name).touch()
    module = ModuleType("sherpa_onnx")
    module.OnlineRecognizer = SimpleNamespace(from_transducer=FakeOnlineRecognizer)
    monkeypatch.setitem(sys.modules, "sherpa_onnx", module)
    monkeypatch.setattr(transcriber, "version", lambda package: "2.0")
    system = peer_loader("sherpa-onnx", tmp_path)()
    assert system.name == "sherpa-onnx 2.0 transducer greedy"
    assert system.transcribe(np.ones(48000, np.float32), 48000) == "HELLO"
    fake = system._recognizer
    assert fake.options["num_threads"] == 1 and fake.options["tokens"].endswith("teacher/tokens.txt")
    assert [(rate, len(samples)) for rate, samples in fake.heard] == [(16000, 16000), (16000, 10240)]
    assert not fake.heard[1][1].any()
    fake.heard.clear()
    live = system.listen()
    assert live.accept(np.ones(1600, np.float32)) == live.finish() == "HELLO"
    assert [len(samples) for _, samples in fake.heard] == [1600, 10240]


class FakeDecoder:
    """Takes what pocketsphinx would."""

    def __init__(self, **options):
        self.heard = []
        self.answer = None

    def start_utt(self):
        pass

    def process_raw(self, data, *, full_utt):
        self.whole = full_utt
        self.heard.append(np.frombuffer(data, "<i2"))

    def end_utt(self):
        pass

    def hyp(self):
        return self.answer


def test_what_pocketsphinx_is_fed(tmp_path, monkeypatch):
    module = ModuleType("pocketsphinx")
    module.Decoder = FakeDecoder
    monkeypatch.setitem(sys.modules, "pocketsphinx", module)
    monkeypatch.setattr(transcriber, "version", lambda package: "5.1")
    system = peer_loader("pocketsphinx", tmp_path)()
    assert system.name == "pocketsphinx 5.1 en-us"
    assert system.transcribe(np.array([0, 0.5, -1, 1.5], np.float32), 16000) == ""
    assert system._decoder.whole
    np.testing.assert_array_equal(system._decoder.heard[0], [0, 16384, -32768, 32767])
    system._decoder.answer = SimpleNamespace(hypstr="hello")
    assert system.transcribe(np.zeros(16000, np.float32), 8000) == "hello"
    assert len(system._decoder.heard[1]) == 32000
    assert system.transcribe(np.zeros(0, np.float32), 16000) == ""
    live = system.listen()
    assert live.accept(np.ones(1600, np.float32)) == live.finish() == "hello"
    assert not system._decoder.whole
