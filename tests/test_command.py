"""Command or dictation: what is taken for what, exact streaming, and errors."""

from __future__ import annotations

import json
import math
import shutil
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from bundles import CALIBRATION, TINY
from hypothesis import given
from hypothesis import strategies as st
from tool_modules import load_tool

from edgeasr import LanguageModel, Recognizer
from edgeasr.bundle import read_bundle, update_bundle, verify_bundle
from edgeasr.command import CommandDecoder, CommandRecognizer
from edgeasr.confidence import Calibration
from edgeasr.config import CommandConfig, CtcBeamConfig
from edgeasr.decoder import CtcBeamDecoder, DecodingContext, Hotwords
from edgeasr.errors import ConfigError, InputError, StreamStateError
from edgeasr.grammar import Grammar
from edgeasr.tokens import TokenTable, WordTiming
from edgeasr.words import AT_THE_END, Decoder, WordDecoder

TOKENS = ["<blank>", "|", *"abcdefghijklmnopqrstuvwxyz"]
GRAMMAR = Grammar.from_text("intent light: turn the {room} light (on|off)\nlist room: kitchen | hall\n")


def say(text: str, certainty: float = 0.9, seed: int = 0) -> np.ndarray:
    """Log-probs as of a model that hears the text: two frames for each letter, a blank after each."""
    rng = np.random.default_rng(seed)
    rows = []
    for letter in text.replace(" ", "|"):
        for token in (TOKENS.index(letter), TOKENS.index(letter), 0):
            row = rng.dirichlet(np.full(len(TOKENS), 0.3)) * (1 - certainty)
            row[token] += certainty
            rows.append(row)
    return np.log(np.maximum(rows, 1e-10)).astype(np.float32)


def decoder(config: CommandConfig | None = None, grammar: Grammar = GRAMMAR) -> CommandDecoder:
    return CommandDecoder(TOKENS, grammar, config, word_delimiter="|")


def test_a_command_is_told_from_dictation_and_from_noise() -> None:
    commands = decoder()
    result = commands.decode(say("turn the hall light on"))
    assert (result.kind, result.text, result.intent, dict(result.slots)) == (
        "command",
        "turn the hall light on",
        "light",
        {"room": "hall"},
    )
    assert [(slot.first_word, slot.end_word) for slot in result.spans] == [(2, 3)]
    assert result.llr == pytest.approx(0.0, abs=0.02)
    assert result.command is not None and result.command.words[2].text == "hall"
    # A word that was misheard does not matter: nothing in the grammar is nearer.
    assert commands.decode(say("turn the holl lite on")).text == "turn the hall light on"
    result = commands.decode(say("my mother likes the garden"))
    assert (result.kind, result.text, result.intent, dict(result.slots)) == (
        "dictation",
        "my mother likes the garden",
        None,
        {},
    )
    assert result.llr < -4
    # A command within other speech is none.
    assert commands.decode(say("he said turn the hall light on and laughed")).kind == "dictation"
    result = commands.decode(say("xqzv jw", certainty=0.05))
    assert result.kind == "rejected"
    assert result.intent is None


def test_what_is_left_without_sound() -> None:
    nothing = np.log(np.full((20, len(TOKENS)), 1e-4, np.float32))
    nothing[:, 0] = np.log(1 - 1e-4 * (len(TOKENS) - 1))
    for rows in (nothing, nothing[:0]):
        result = decoder().decode(rows)
        assert (result.kind, result.text, result.score, result.llr) == ("rejected", "", -math.inf, -math.inf)
        assert result.command is None


def test_the_measures_are_those_of_the_two_searches() -> None:
    rows = say("turn the holl light off", certainty=0.7)
    result = decoder().decode(rows)
    open_best = CtcBeamDecoder(TOKENS, word_delimiter="|").decode(rows)[0]
    closed = CtcBeamConfig(
        beam_size=CommandConfig().beam_size,
        beam_threshold=CommandConfig().beam_threshold,
        token_threshold=math.inf,
        max_tokens_per_frame=0,
        blank_skip_threshold=1.0,
        max_commit_delay_frames=0,
    )
    context = DecodingContext(grammar=GRAMMAR)
    best = CtcBeamDecoder(TOKENS, closed, context=context, word_delimiter="|").decode(rows)[0]
    assert (result.dictation.text, result.dictation.score) == (open_best.text, open_best.score)
    assert result.command is not None and result.command.text == best.text == "turn the hall light off"
    length = len(best.token_ids)
    assert result.llr == pytest.approx((best.parts.acoustic - open_best.parts.acoustic) / length)
    assert result.command_score == pytest.approx(best.parts.acoustic / length)
    assert result.score == pytest.approx(open_best.parts.acoustic / len(open_best.token_ids))


def test_thresholds_decide() -> None:
    rows = say("turn the holl lite on", certainty=0.7)
    result = decoder().decode(rows)
    assert result.kind == "command"
    above = decoder(CommandConfig(min_llr=result.llr + 1e-6)).decode(rows)
    assert (above.kind, above.text, above.llr) == ("dictation", "turn the holl lite on", result.llr)
    assert decoder(CommandConfig(min_llr=result.llr)).decode(rows).kind == "command"
    assert decoder(CommandConfig(min_command_score=result.command_score + 1e-6)).decode(rows).kind == "dictation"
    assert decoder(CommandConfig(min_llr=0.5, min_score=result.score + 1e-6)).decode(rows).kind == "rejected"


@given(st.data())
def test_how_the_frames_are_cut_changes_nothing(data: st.DataObject) -> None:
    text = data.draw(st.sampled_from(["turn the hall light on", "turn a mall lite up", "hello there"]))
    rows = say(text, certainty=data.draw(st.sampled_from([0.95, 0.6, 0.3])), seed=data.draw(st.integers(0, 9)))
    whole = decoder().decode(rows)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(rows)), max_size=8)))
    commands = decoder()
    for begin, end in zip([0, *cuts], [*cuts, len(rows)], strict=True):
        commands.accept(rows[begin:end])
        commands.partial()
    assert commands.num_frames == len(rows)
    assert commands.finish() == whole


def test_a_partial_shows_both() -> None:
    commands = decoder()
    rows = say("turn the hall light on")
    commands.accept(rows[: 3 * len("turn the hall")])
    partial = commands.partial()
    assert (partial.text, partial.command) == ("turn the hall", "turn the hall")
    assert partial.llr == pytest.approx(0.0, abs=0.02)


def test_another_grammar_for_another_utterance() -> None:
    commands = decoder()
    other = Grammar.from_text("intent greet: good morning\n")
    commands.reset(grammar=other)
    assert commands.grammar is other
    assert commands.decode(say("good morning")).intent == "greet"
    assert commands.decode(say("turn the hall light on")).kind == "dictation"


def test_the_automaton_is_renewed_before_it_is_full() -> None:
    text = "".join(f"  {name} light on\n" for name in ("kitchen", "hall", "attic", "garden", "cellar"))
    grammar = Grammar.from_text("intent light:\n" + text)
    rows = say("garden light on")
    commands = decoder(grammar=grammar)
    assert commands.decode(rows).kind == "command"
    tight = Grammar.from_text(grammar.text, limits=replace(grammar.limits, max_states=grammar.num_states + 1))
    commands = decoder(grammar=tight)
    for _ in range(3):
        assert commands.decode(rows).kind == "command"
    assert commands.grammar is not tight


def test_errors() -> None:
    with pytest.raises(ConfigError, match='cannot spell "7"'):
        decoder(grammar=Grammar.from_text("intent i: room 7\n"))
    commands = decoder()
    with pytest.raises(ConfigError, match='cannot spell "7"'):
        commands.reset(grammar=Grammar.from_text("intent i: room 7\n"))
    rows = say("turn")
    for bad in (rows.astype(np.float64), rows[:, :-1].copy(), rows * np.float32(np.nan)):
        with pytest.raises(InputError):
            commands.accept(bad)
    # Nothing of a refused block was used.
    commands.accept(say("turn the hall light on"))
    assert commands.finish().llr == pytest.approx(0.0, abs=0.02)
    with pytest.raises(StreamStateError):
        commands.finish()
    with pytest.raises(StreamStateError):
        commands.accept(rows)
    for name, value in (("beam_size", 0), ("beam_threshold", 0.0), ("min_llr", math.nan), ("min_score", math.nan)):
        with pytest.raises(ConfigError, match=f"{name} is"):
            CommandConfig(**{name: value})


def test_a_second_thread_is_refused() -> None:
    commands = decoder()
    rows = say("turn the hall light on " * 100, certainty=0.5)
    worker = threading.Thread(target=commands.accept, args=(rows,))
    refused = 0
    worker.start()
    while worker.is_alive():
        try:
            commands.partial()
        except StreamStateError:
            refused += 1
    worker.join()
    assert refused > 0
    assert commands.num_frames == len(rows)


TINY_GRAMMAR = Grammar.from_text("intent say: (he was not|young man)\n")


def test_sound_is_recognised_the_same_from_files_arrays_and_streams(samples_dir: Path) -> None:
    path = samples_dir / "austen-0880.flac"
    commands = CommandRecognizer(Recognizer(TINY), TINY_GRAMMAR)
    from_file = commands.recognize(path)
    samples, sample_rate = soundfile.read(path, dtype="float32")
    assert commands.recognize(samples, sample_rate=sample_rate) == from_file
    stream = commands.stream(sample_rate=sample_rate)
    for _ in range(2):
        for part in np.array_split(samples, 7):
            stream.accept(part)
        assert stream.finish() == from_file
        for call in (stream.finish, lambda: stream.accept(samples)):
            with pytest.raises(StreamStateError):
                call()
        stream.reset()
    with pytest.raises(InputError, match="sample_rate is missing"):
        commands.recognize(samples)
    with pytest.raises(InputError, match="a file knows its own"):
        commands.recognize(path, sample_rate=sample_rate)


def test_dictation_is_what_the_recogniser_hears(samples_dir: Path, tmp_path: Path) -> None:
    bundle = Path(shutil.copytree(TINY, tmp_path / "tiny"))
    LanguageModel.build(lines=["she was the youngest", "he was not a young man"]).save(tmp_path / "lm.bin")
    update_bundle(bundle, language_model=tmp_path / "lm.bin", calibration={"beam+lm": CALIBRATION})
    path = samples_dir / "austen-0880.flac"
    every = CommandConfig(min_llr=math.inf, min_score=-math.inf)
    texts = []
    for recognizer in (Recognizer(bundle), Recognizer(bundle, lm="none"), Recognizer(bundle, decoder="greedy")):
        result = CommandRecognizer(recognizer, TINY_GRAMMAR, every).recognize(path)
        assert (result.kind, result.calibrated) == ("dictation", recognizer.mode == "beam+lm")
        texts.append(result.text)
        if recognizer.mode != "greedy":  # of which a likelihood ratio could not be told
            transcript = recognizer.transcribe(path, endpoint=None)
            assert (result.text, result.words) == (transcript.text, transcript.words)
            assert result.confidence == transcript.confidence
    assert texts[0] != texts[1] == texts[2]


def test_thresholds_are_kept_in_the_bundle(tmp_path: Path) -> None:
    bundle = shutil.copytree(TINY, tmp_path / "tiny")
    config = CommandConfig(beam_size=40, min_llr=-1.25, min_score=-0.5)
    update_bundle(bundle, decoder=replace(read_bundle(bundle).decoder, command=config))
    assert verify_bundle(bundle).decoder.command == config
    assert CommandRecognizer(Recognizer(bundle), TINY_GRAMMAR).config == config
    description = json.loads((bundle / "config.json").read_text())
    del description["decoder"]["command"]
    (bundle / "config.json").write_text(json.dumps(description))
    assert read_bundle(bundle).decoder.command == CommandConfig()


def measured(calibration: Calibration | None = CALIBRATION, min_confidence: float = 0.0) -> CommandDecoder:
    """A decoder that measures words."""
    table = TokenTable(TOKENS, blank_id=0, word_delimiter="|")

    def words_of(decoder: Decoder, context: DecodingContext | None) -> WordDecoder:
        return WordDecoder(
            decoder,
            tokens=table,
            timing=WordTiming(frame_s=0.02),
            rows_per_read=20 if context is None else AT_THE_END,
            calibration=calibration,
        )

    return CommandDecoder(TOKENS, GRAMMAR, word_delimiter="|", words_of=words_of, min_confidence=min_confidence)


def test_words_of_a_command_have_times_and_confidences() -> None:
    commands = measured()
    result = commands.decode(say("turn the hall light on"))
    assert (result.kind, result.calibrated) == ("command", True)
    assert [word.text for word in result.words] == result.text.split()
    assert (result.words[0].start, result.words[0].end) == (0.0, 0.22)
    assert result.confidence == pytest.approx(sum(word.confidence for word in result.words) / 5)
    misheard = commands.decode(say("turn the holl light on"))
    assert misheard.text == result.text
    assert misheard.words[2].confidence < 0.8 * result.words[2].confidence
    assert misheard.words[4].confidence == pytest.approx(result.words[4].confidence, rel=0.1)
    plain = decoder().decode(say("turn the hall light on"))
    assert (plain.words, plain.confidence, plain.calibrated) == ((), None, False)
    assert replace(result, words=(), calibrated=False) == plain
    uncalibrated = measured(None).decode(say("turn the hall light on"))
    assert len(uncalibrated.words) == 5 and not uncalibrated.calibrated


def test_words_of_dictation_have_times_and_confidences() -> None:
    log_probs = say("something else is said here and it takes a while", certainty=0.7)
    result = measured().decode(log_probs)
    plain = decoder().decode(log_probs)
    assert result.kind == "dictation" and result.calibrated
    assert [word.text for word in result.words] == result.text.split()
    # What is committed meanwhile is put together again: tokens, times and words of the whole text.
    assert result.dictation == plain.dictation
    assert replace(result, words=(), calibrated=False) == plain


def test_what_is_not_believed_is_rejected() -> None:
    sure, unsure = (say("turn the hall light on", certainty=certainty) for certainty in (0.97, 0.6))
    confidences = [measured().decode(log_probs).confidence or 0.0 for log_probs in (sure, unsure)]
    assert confidences[1] < confidences[0]
    picky = measured(min_confidence=sum(confidences) / 2)
    assert (picky.decode(sure).kind, measured().decode(unsure).kind) == ("command", "command")
    rejected = picky.decode(unsure)
    assert (rejected.kind, rejected.intent, dict(rejected.slots)) == ("rejected", None, {})
    assert rejected.text == rejected.dictation.text


def test_a_block_that_is_refused_changes_nothing() -> None:
    commands, log_probs = measured(), say("turn the hall light on")
    bad = log_probs[:50].copy()
    bad[45, 3] = np.nan
    with pytest.raises(InputError):
        commands.accept(bad)
    commands.accept(log_probs)
    assert commands.finish() == measured().decode(log_probs)


@given(st.data())
def test_confidences_of_commands_do_not_depend_on_the_cut(data: st.DataObject) -> None:
    log_probs = say("turn the kitchen light off", certainty=0.7)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(log_probs)), max_size=6)))
    commands = measured()
    for block in np.split(log_probs, cuts):
        commands.accept(block)
        commands.partial()
    assert commands.finish() == measured().decode(log_probs)


def test_a_grammar_is_a_way_of_decoding() -> None:
    commands = CommandRecognizer(Recognizer(TINY), GRAMMAR)
    assert commands.mode == "grammar"
    with pytest.raises(ConfigError, match="hotwords are for dictation"):
        commands.word_decoder(hotwords=Hotwords(["kitchen"]))


# --- The tool. ---

tool = load_tool("evaluate_commands")


def test_the_tool_reports(tmp_path: Path, samples_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    speech, noise = tmp_path / "speech", tmp_path / "noise"
    speech.mkdir()
    noise.mkdir()
    samples, sample_rate = soundfile.read(samples_dir / "austen-0880.flac")
    clips = np.array_split(samples, 4)
    for number, clip in enumerate(clips):
        soundfile.write(speech / f"{number}.flac", clip, sample_rate)
        soundfile.write(noise / f"{number}.opus", 0.01 * clip[: 2 * sample_rate], 16000, format="OGG", subtype="OPUS")
    row = {"audio": "0.flac", "duration_s": 1.0, "text": None, "intent": "say", "slots": {}}
    for name in ("coffee.test", "commonvoice.dev"):
        rows = [{**row, "id": f"{name}-{number}", "audio": f"{number}.flac"} for number in range(4)]
        (speech / f"{name}.jsonl").write_text("".join(json.dumps(entry) + "\n" for entry in rows))
    grammar = tmp_path / "say.grammar"
    grammar.write_text(TINY_GRAMMAR.text)
    arguments = ["report", str(grammar), "--data", str(tmp_path), "--model", str(TINY), "--limit", "2"]
    arguments += ["--cache", str(tmp_path / "cache"), "--json", str(tmp_path / "figures.json")]
    assert tool.main(arguments) == 0
    shown = capsys.readouterr().out
    assert "| coffee.test, 10 dB | 2 |" in shown and "| noise alone | 1 |" in shown
    figures = json.loads((tmp_path / "figures.json").read_text())
    assert figures["figures"]["commonvoice.dev, clean"]["num_clips"] == 2
    (speech / "coffee.test.jsonl").write_text(json.dumps({**row, "id": "x", "intent": None}) + "\n")
    assert tool.main(arguments) == 2
    assert "has no intent and slots" in capsys.readouterr().err
