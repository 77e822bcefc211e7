"""What a user teaches: it is kept whole, found again, and heard."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from edgeasr import Recognizer
from edgeasr import profile as profiles
from edgeasr.cli import main
from edgeasr.config import CtcBeamConfig
from edgeasr.decoder import CtcBeamDecoder, DecodingContext, Hotwords, Lexicon
from edgeasr.errors import ConfigError, InputError
from edgeasr.lm import LanguageModel
from edgeasr.profile import Profile, ProfileWatcher, add_phrases, add_sentences, add_word, read_profile, remove

TOKENS = ("<blank>", "|", *"abcdefghijklmnopqrstuvwxyz")


def heard(text: str) -> np.ndarray:
    """Log-probs of a model that hears these letters, each a little less sure than it might be."""
    rows = []
    for letter in text.replace(" ", "|"):
        for token in (TOKENS.index(letter), 0):
            row = np.full(len(TOKENS), 0.2 / (len(TOKENS) - 1))
            row[token] = 0.8
            rows.append(row)
    return np.log(np.array(rows)).astype(np.float32)


def decoded(text: str, context: DecodingContext | None) -> str:
    decoder = CtcBeamDecoder(
        TOKENS, CtcBeamConfig(lm_weight=0.7, hotword_boost=4.0), context=context, word_delimiter="|"
    )
    best: str = decoder.decode(heard(text))[0].text
    return best


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    status = main(["teach", *map(str, arguments)])
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def test_what_is_taught_is_read_again(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "b"
    assert not read_profile(folder)
    add_word("kubernetes", ["coopernetties"], folder=folder)
    add_word("nguyen", folder=folder)
    add_word("kubernetes", ["cubernetties"], folder=folder)
    add_phrases({"lava  lamp": None, "kitchen light": 3.5}, folder=folder)
    add_sentences(["turn on the lava lamp", " turn on  the lava lamp ", "good night"], folder=folder)
    taught = read_profile(folder)
    assert taught == Profile(
        words={"nguyen": (), "kubernetes": ("cubernetties",)},
        phrases={"lava lamp": None, "kitchen light": 3.5},
        sentences=("turn on the lava lamp", "good night"),
    )
    assert remove(["nguyen", "kitchen light", "good  night", "xyz"], folder=folder) == ["xyz"]
    assert read_profile(folder) == Profile(
        words={"kubernetes": ("cubernetties",)}, phrases={"lava lamp": None}, sentences=("turn on the lava lamp",)
    )


def test_lines_that_cannot_be_understood_are_told_and_kept(tmp_path: Path) -> None:
    (tmp_path / "words.txt").write_text("good\n\ntwo words\nbad\t\n")
    (tmp_path / "phrases.txt").write_text("lamp\tmuch\nlight\t2\n")
    (tmp_path / "sentences.txt").write_text("<s> a\n")
    taught = read_profile(tmp_path)
    assert (list(taught.words), dict(taught.phrases), taught.sentences) == (["good"], {"light": 2.0}, ())
    assert [warning.split(": ")[0].removeprefix(f"{tmp_path}/") for warning in taught.warnings] == [
        "words.txt:3",
        "words.txt:4",
        "phrases.txt:1",
        "sentences.txt:1",
    ]
    add_word("new", folder=tmp_path)
    assert (tmp_path / "words.txt").read_text().split("\n") == ["good", "", "two words", "bad\t", "new", ""]
    remove(["two words"], folder=tmp_path)
    assert "two words" not in (tmp_path / "words.txt").read_text()


def test_text_that_is_no_text_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "words.txt").write_bytes(b"\xff\xfe\n")
    with pytest.raises(InputError, match=r"words\.txt"):
        read_profile(tmp_path)
    with pytest.raises(InputError, match=r"words\.txt"):
        add_word("a", folder=tmp_path)
    assert (tmp_path / "words.txt").read_bytes() == b"\xff\xfe\n"


@pytest.mark.parametrize("word", ["", "two words", " a", "a\tb c", "<s>"])
def test_words_that_are_none(word: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is not one word"):
        add_word(word, folder=tmp_path)
    assert not read_profile(tmp_path)


def test_a_full_disk_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    add_word("first", folder=tmp_path)

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(profiles.os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        add_word("second", folder=tmp_path)
    assert list(read_profile(tmp_path).words) == ["first"]
    assert sorted(path.name for path in tmp_path.iterdir()) == [".lock", "words.txt"]


def test_writers_at_the_same_time_lose_nothing(tmp_path: Path) -> None:
    program = (
        "import sys; from edgeasr.profile import add_word\n"
        "for number in range(20): add_word(f'{sys.argv[2]}{number}', folder=sys.argv[1])"
    )
    writers = [subprocess.Popen([sys.executable, "-c", program, str(tmp_path), name]) for name in "abc"]
    assert [writer.wait() for writer in writers] == [0, 0, 0]
    assert set(read_profile(tmp_path).words) == {f"{name}{number}" for name in "abc" for number in range(20)}


def test_the_folder_follows_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("EDGEASR_PROFILE", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_DATA_HOME", "relative")
    assert profiles.profile_dir() == tmp_path / ".local/share/edgeasr/profile"
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    assert profiles.profile_dir() == tmp_path / "data/edgeasr/profile"
    monkeypatch.setenv("EDGEASR_PROFILE", str(tmp_path / "other"))
    assert profiles.profile_dir() == tmp_path / "other"


def test_a_watcher_sees_changes_and_survives_damage(tmp_path: Path) -> None:
    watcher = ProfileWatcher(tmp_path)
    assert watcher.changed() is None
    add_phrases({"lava lamp": None}, folder=tmp_path)
    changed = watcher.changed()
    assert changed is not None
    assert list(changed.phrases) == ["lava lamp"]
    assert watcher.changed() is None
    (tmp_path / "phrases.txt").write_bytes(b"\xff")
    damaged = watcher.changed()
    assert damaged is not None
    assert list(damaged.phrases) == ["lava lamp"]
    assert "what was taught before goes on" in damaged.warnings[0]


def test_a_taught_word_is_heard() -> None:
    lm = LanguageModel.build(lines=["call when you can", "when is it", "call me when it is on"])
    base = DecodingContext(lm=lm)
    assert decoded("call wen", base) == "call when"
    assert decoded("call wen", Profile(words={"wen": ()}).context(base)) == "call wen"


def test_a_spelling_is_heard_and_the_word_is_written() -> None:
    lm = LanguageModel.build(lines=["call when you can", "when is it", "call me when it is on"])
    context = Profile(words={"nguyen": ("wen",)}).context(DecodingContext(lm=lm))
    assert context is not None
    assert context.lexicon is not None
    assert context.lexicon.written("wen") == "nguyen"
    assert decoded("call wen", context) == "call nguyen"
    assert "when" in context.lexicon
    assert "<s>" not in context.lexicon


def test_phrases_and_sentences_are_known_besides_what_was_known() -> None:
    lm = LanguageModel.build(lines=["turn on the light"])
    base = DecodingContext(lm=[(lm, 2.0)], lexicon=Lexicon({"light": ["lite"]}), hotwords=Hotwords({"one": 1.0}))
    taught = Profile(words={"lava": ()}, phrases={"lava lamp": None}, sentences=("turn on the lava lamp",))
    context = taught.context(base)
    assert context is not None
    assert context.hotwords is not None
    assert context.lexicon is not None
    assert dict(context.hotwords.phrases) == {"one": 1.0, "lava lamp": None}
    assert [weight for _, weight in context.lm] == pytest.approx([0.8, 0.2])
    assert set(context.lexicon.entries) == {"light", "turn", "on", "the", "lava", "lamp"}
    assert context.lexicon.entries["light"] == ("lite",)
    assert decoded("turn on the lava lamp", context) == "turn on the lava lamp"


def test_nothing_taught_changes_nothing() -> None:
    base = DecodingContext(hotwords=Hotwords(["a"]))
    assert Profile().context(base) is base
    assert Profile().context(None) is None


def test_a_greedy_decoder_knows_nothing_of_it() -> None:
    golden = Path(__file__).parent / "golden" / "tiny"
    Recognizer(golden, decoder="greedy", profile=Profile())
    with pytest.raises(ConfigError, match="greedy decoder has no profile"):
        Recognizer(golden, decoder="greedy", profile=Profile(words={"a": ()}))
    with pytest.raises(ConfigError, match="profiles need the beam search"):
        Recognizer(golden, decoder="greedy").word_decoder(profile=Profile(words={"a": ()}))


def test_transcribe_takes_it_up(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, samples_dir: Path
) -> None:
    monkeypatch.setenv("EDGEASR_PROFILE", str(tmp_path))
    sample = str(samples_dir / "austen-0870.flac")
    assert run(capsys, "add-phrases", "john dashwood", "--boost", 8)[0] == 0
    (tmp_path / "words.txt").write_text("two words\n")
    assert main(["transcribe", sample]) == 0
    captured = capsys.readouterr()
    assert "john dashwood" in captured.out
    assert "words.txt:1: " in captured.err
    for without in (["--profile", "none"], ["--decoder", "greedy"]):
        assert main(["transcribe", sample, *without]) == 0
        captured = capsys.readouterr()
        assert "dashwood" not in captured.out
        assert not captured.err


def test_marks_at_the_ends_of_a_word_are_not_heard(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    where = ("--profile", tmp_path)
    for word in ("Dashwood.", "Mrs."):
        assert run(capsys, "add-word", word, *where)[0] == 0
    assert read_profile(tmp_path).words == {"Dashwood.": ("dashwood",), "Mrs.": ("mrs",)}
    for arguments in (("add-word", "..."), ("add-word", "x", "--spelling", "!"), ("add-phrases", "?")):
        status, _, err = run(capsys, *arguments, *where)
        assert (status, err.count("\n"), "there is no word in" in err) == (2, 1, True)


def test_the_command(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    where = ("--profile", tmp_path)
    assert run(capsys, "list", *where) == (0, f"nothing has been taught yet; the profile is {tmp_path}\n", "")
    assert run(capsys, "add-word", "NATO", *where)[0] == 0
    assert run(capsys, "add-word", "kubernetes", "--spelling", "Coopernetties", *where)[0] == 0
    (tmp_path / "more.txt").write_text("Kitchen light!\n\n")
    assert run(capsys, "add-phrases", "lava lamp", "--file", tmp_path / "more.txt", "--boost", 3, *where)[0] == 0
    assert run(capsys, "add-sentences", "Turn on the lava lamp.", *where)[0] == 0
    status, out, _ = run(capsys, "list", "--json", *where)
    assert status == 0
    assert json.loads(out) == {
        "words": {"NATO": ["nato"], "kubernetes": ["coopernetties"]},
        "phrases": {"lava lamp": 3.0, "kitchen light": 3.0},
        "sentences": ["turn on the lava lamp"],
    }
    assert "NATO (spelled nato)" in run(capsys, "list", *where)[1]
    status, _, err = run(capsys, "add-sentences", "lamp 5", *where)
    assert (status, err.count("\n")) == (2, 1)
    assert "cannot spell '5'" in err
    assert run(capsys, "add-phrases", *where)[0] == 2
    status, _, err = run(capsys, "remove", "lava lamp", "nothing", *where)
    assert (status, err) == (2, f"edgeasr: {tmp_path} does not have 'nothing'\n")
    assert list(read_profile(tmp_path).phrases) == ["kitchen light"]
    (tmp_path / "words.txt").write_text("a b\n")
    status, _, err = run(capsys, "list", *where)
    assert (status, "words.txt:1" in err) == (2, True)
