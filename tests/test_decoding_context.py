"""What a recogniser may know besides the sound: the bundle's language model, the caller's, words and hotwords."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
from bundles import TINY

from edgeasr import BundleError, ConfigError, Recognizer
from edgeasr.bundle import read_bundle, update_bundle
from edgeasr.cli import main
from edgeasr.cli.decode import find_blank, find_delimiter, read_tokens
from edgeasr.command import CommandRecognizer, CommandResult
from edgeasr.decoder import Hotwords, Hypothesis, Lexicon
from edgeasr.errors import InputError
from edgeasr.grammar import Grammar
from edgeasr.lm import LanguageModel
from edgeasr.output import command_to_json, command_to_text

TEXT = ["she was an only child", "an only child was she", "he is the only one"]
TOKENS = ["<blank>", "|", *"abcdehilnosw"]


@pytest.fixture(scope="module")
def lm_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("lm") / "small.bin"
    LanguageModel.build(lines=TEXT).save(path)
    return path


@pytest.fixture
def bundle(tmp_path: Path, lm_path: Path) -> Path:
    """The small bundle with a language model."""
    path = shutil.copytree(TINY, tmp_path / "bundle")
    update_bundle(path, language_model=lm_path)
    return path


@pytest.fixture
def log_probs(tmp_path: Path) -> Path:
    """Saved log-probs that say `he was` more clearly than `she was`."""
    rows = np.full((20, len(TOKENS)), 0.01)
    for frame, letter in ((0, "s"), (2, "h"), (4, "e"), (6, "|"), (8, "w"), (10, "a"), (12, "s")):
        rows[frame, TOKENS.index(letter)] = 0.4 if letter == "s" and frame == 0 else 0.9
    rows[0, 0] = 0.45
    rows[[1, 3, 5, 7, 9, 11, *range(13, 20)], 0] = 0.9
    path = tmp_path / "rows.npy"
    np.save(path, np.log(rows / rows.sum(axis=1, keepdims=True)).astype(np.float32))
    (tmp_path / "tokens.txt").write_text("\n".join(TOKENS) + "\n")
    return path


def test_a_bundle_carries_its_language_model(bundle: Path, samples_dir: Path) -> None:
    assert read_bundle(bundle).language_model_path == bundle / "lm.bin"
    recognizer = Recognizer(bundle)
    assert recognizer.context is not None and recognizer.mode == "beam+lm"
    without = Recognizer(bundle, lm="none")
    assert without.context is None and without.mode == "beam"
    sample = samples_dir / "austen-0880.flac"
    assert without.transcribe(sample).text == Recognizer(TINY).transcribe(sample).text
    assert recognizer.transcribe(sample).text != without.transcribe(sample).text


def test_a_greedy_decoder_needs_no_language_model(bundle: Path) -> None:
    recognizer = Recognizer(bundle, decoder="greedy")
    assert recognizer.context is None and recognizer.mode == "greedy"


def test_a_language_model_that_is_not_there_is_missed(bundle: Path) -> None:
    (bundle / "lm.bin").unlink()
    with pytest.raises(BundleError, match=r"lm\.bin is missing"):
        read_bundle(bundle)


def test_a_language_model_that_is_not_listed_is_refused(bundle: Path) -> None:
    config = json.loads((bundle / "config.json").read_text())
    del config["files"]["lm.bin"]
    (bundle / "config.json").write_text(json.dumps(config))
    with pytest.raises(BundleError, match=r"files has no entry for lm\.bin"):
        read_bundle(bundle)


def test_the_caller_chooses(lm_path: Path) -> None:
    recognizer = Recognizer(TINY, lm=lm_path, lm_weight=0.7, word_bonus=1.5, nbest=3, hotword_boost=5.0)
    beam = recognizer.decoder.beam
    assert (beam.lm_weight, beam.word_bonus, beam.nbest, beam.hotword_boost) == (0.7, 1.5, 3, 5.0)
    assert Recognizer(TINY, lexicon=Lexicon(["she"])).mode == "lexicon"


def test_streams_have_their_own_hotwords(samples_dir: Path) -> None:
    sample = samples_dir / "austen-0880.flac"
    recognizer = Recognizer(TINY)
    waveform, sample_rate = soundfile.read(sample, dtype="float32")
    plain = recognizer.transcribe(sample).text
    stream = recognizer.stream(sample_rate=sample_rate, hotwords=Hotwords({"zz": 60.0}))
    stream.accept(waveform)
    assert "zz" in stream.finish().text.split() and "zz" not in plain.split()
    assert recognizer.transcribe(sample).text == plain


def test_what_only_the_beam_search_has(lm_path: Path) -> None:
    for wish in ({"lm": lm_path}, {"lm_weight": 1.0}, {"hotwords": Hotwords(["a"])}, {"nbest": 2}):
        with pytest.raises(ConfigError, match="it is for the beam search"):
            Recognizer(TINY, decoder="greedy", **wish)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="hotwords and profiles need the beam search"):
        Recognizer(TINY, decoder="greedy").stream(hotwords=Hotwords(["a"]))


def test_transcribe_takes_all_of_it(
    samples_dir: Path, lm_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "hot.txt").write_text("zz\t60\n")
    (tmp_path / "words.txt").write_text("she\nonly\n")
    sample = str(samples_dir / "austen-0880.flac")
    command = ["transcribe", "--model", str(TINY), "--format", "json", sample]
    options = ["--hotwords", str(tmp_path / "hot.txt"), "--nbest", "2", "--lm", str(lm_path), "--lm-weight", "0.1"]
    assert main([*command, *options]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert "zz" in answer["text"].split() and len(answer["segments"][0]["alternatives"]) == 2
    assert main([*command, "--lexicon", str(tmp_path / "words.txt"), "--word-bonus", "1"]) == 0
    capsys.readouterr()
    (tmp_path / "words.txt").write_text("she\nSHE\tshe\n")
    assert main([*command, "--lexicon", str(tmp_path / "words.txt")]) == 0
    assert capsys.readouterr().err == (
        f"edgeasr: note: 1 spellings stand for earlier words of {tmp_path / 'words.txt'}, which count: "
        "line 2: 'SHE' as 'she', which is 'she' of line 1\n"
        "edgeasr: note: the tokens cannot spell 1 of the words to be found, which are skipped: SHE\n"
    )
    (tmp_path / "hot.txt").write_text("a\n \n")
    assert main([*command, "--hotwords", str(tmp_path / "hot.txt")]) == 2
    assert f"{tmp_path / 'hot.txt'}:2" in capsys.readouterr().err
    assert main([*command, "--lm", str(tmp_path / "words.txt")]) == 2
    assert "words.txt" in capsys.readouterr().err


def test_decode_needs_no_model(log_probs: Path, lm_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["decode", str(log_probs), "--tokens", str(log_probs.with_name("tokens.txt"))]
    assert main(command) == 0
    assert capsys.readouterr().out == "he was\n"
    assert main([*command, "--lm", str(lm_path), "--lm-weight", "2", "--format", "json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    (best,) = answer["hypotheses"]
    assert best["text"] == "she was" and [word["text"] for word in best["words"]] == ["she", "was"]
    parts = best["score_parts"]
    assert best["score"] == pytest.approx(parts["acoustic"] + 2 * parts["lm"] + parts["boost"] - parts["oov"], abs=1e-3)
    assert main([*command, "--nbest", "3"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 3


def test_decode_tells_what_it_cannot_read(log_probs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tokens = log_probs.with_name("tokens.txt")
    bad = log_probs.with_name("bad.npy")
    bad.write_text("no array")
    assert main(["decode", str(bad), str(log_probs), "--tokens", str(tokens)]) == 2
    out, err = capsys.readouterr()
    assert "bad.npy: not a .npy file" in err and f"{log_probs}: he was" in out
    np.save(bad, np.load(log_probs)[:, :5])
    assert main(["decode", str(bad), "--tokens", str(tokens)]) == 2
    assert "expected (num_frames, 14)" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("<blk>\n|\na\n", ["<blk>", "|", "a"]),
        ("a 1\n<blk> 0\n| 2\n", ["<blk>", "a", "|"]),
        ("<blk> 0\n▁a 1\n\u2028 2\n", ["<blk>", "▁a", "\u2028"]),
        ("<blk>\n0\n1\n", ["<blk>", "0", "1"]),
    ],
)
def test_tables_of_tokens(tmp_path: Path, text: str, tokens: list[str]) -> None:
    path = tmp_path / "tokens.txt"
    path.write_text(text, encoding="utf-8")
    assert read_tokens(path) == tokens


def test_ids_that_leave_gaps_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "tokens.txt"
    path.write_text("a 0\nb 2\n")
    with pytest.raises(InputError, match="are not 0 to 1"):
        read_tokens(path)


def test_blanks_and_delimiters_are_recognised() -> None:
    assert find_blank(["a", "<blk>"]) == 1 and find_blank(["a", "b"]) == 0
    assert find_delimiter(["a", "|"]) == "|" and find_delimiter(["▁a"]) == "▁" and find_delimiter(["a", " "]) == " "


def test_transcribe_understands_commands(samples_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    grammar = tmp_path / "lights.grammar"
    grammar.write_text("intent switch:\n  turn the light {state}\n\nlist state:\n  on\n  off\n")
    sample = str(samples_dir / "austen-0880.flac")
    command = ["transcribe", "--model", str(TINY), "--grammar", str(grammar), sample]
    assert main([*command, "--format", "json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    expected = CommandRecognizer(Recognizer(TINY), Grammar.from_file(grammar)).recognize(sample)
    assert (answer["kind"], answer["text"], answer["intent"]) == (expected.kind, expected.text, expected.intent)
    assert main([*command, "--format", "srt"]) == 2
    assert "does not go with --grammar" in capsys.readouterr().err
    grammar.write_text("intent switch:\n  turn (the light\n")
    assert main(command) == 2
    assert "lights.grammar:2" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("kind", "intent", "slots", "line"),
    [
        ("command", "switch", {"state": "on"}, "turn it on [switch state=on]\n"),
        ("dictation", None, {}, "turn it on\n"),
        ("rejected", None, {}, "[?]\n"),
    ],
)
def test_commands_are_written(kind: str, intent: str | None, slots: dict[str, str], line: str) -> None:
    nothing = Hypothesis((), (), (), (), 0.0)
    result = CommandResult(
        kind=kind,
        text="turn it on",
        intent=intent,
        slots=slots,
        spans=(),
        llr=float("-inf"),
        command_score=0.0,
        score=-0.5,
        command=None,
        dictation=nothing,
    )
    assert command_to_text(result) == line
    entry = json.loads(command_to_json(result, source="a.wav"))
    assert (entry["file"], entry["kind"], entry["slots"], entry["llr"]) == ("a.wav", kind, slots, None)
