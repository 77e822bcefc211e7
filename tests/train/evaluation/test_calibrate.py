"""Calibration: known truths are found again, and the command writes and measures what it fits."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from bundles import CALIBRATION, TINY

from edgeasr.bundle import read_bundle, update_bundle
from edgeasr.cli import main
from edgeasr.command import CommandRecognizer
from edgeasr.confidence import FEATURES, MONOTONE, Evidence, features
from edgeasr.config import CommandConfig
from edgeasr.errors import ConfigError
from edgeasr.grammar import Grammar
from edgeasr.recognizer import Recognizer
from edgeasr.train.evaluation.calibrate import (
    JudgedClip,
    JudgedWord,
    abstention,
    apply,
    clips_for,
    cross_validated,
    fit,
    fit_calibration,
    fit_knots,
    fit_regression,
    fold_numbers,
    gather,
    has_short_sentences,
    judge,
    report_hotwords,
    segment_error,
    sentence_grammar,
    set_weights,
)
from edgeasr.train.evaluation.conditions import Condition
from edgeasr.train.evaluation.evaluate import EvaluationSet, find_sets, normaliser
from edgeasr.train.evaluation.log_probs import HeardClip, LogProbs
from edgeasr.train.evaluation.reliability import Judged, measure
from edgeasr.train.manifest import Utterance


def random_evidence(num_words: int, seed: int = 0) -> list[Evidence]:
    random = np.random.default_rng(seed)
    return [
        Evidence(
            log_posterior=-random.exponential(2.0),
            share=random.random(),
            weakest=random.random(),
            posterior_product=random.random(),
            doubt=random.exponential(0.3),
            num_letters=int(random.integers(1, 12)),
            duration_s=random.exponential(0.4),
        )
        for _ in range(num_words)
    ]


def table_of(evidence: list[Evidence]) -> np.ndarray:
    return np.array([features(one) for one in evidence])


def judged_clip(name: str, speaker: str | None, words: list[tuple[float, bool]]) -> JudgedClip:
    (evidence,) = random_evidence(1)
    return JudgedClip(
        set_name="set",
        condition="clean",
        clip=name,
        speaker=speaker,
        words=tuple(JudgedWord(evidence=evidence, confidence=c, right=right) for c, right in words),
    )


def test_a_known_calibration_is_found_again() -> None:
    evidence = random_evidence(20_000)
    table = table_of(evidence)
    truth = apply(CALIBRATION, table)
    assert truth == pytest.approx([CALIBRATION.probability(one) for one in evidence])
    right = (np.random.default_rng(1).random(len(truth)) < truth).astype(float)
    found = fit_calibration(table, right, np.ones(len(right)))
    assert np.abs(apply(found, table) - truth).mean() < 0.01


def test_a_known_regression_is_found_again() -> None:
    table = table_of(random_evidence(20_000))
    truth = replace(CALIBRATION, knots=())
    right = (np.random.default_rng(1).random(len(table)) < apply(truth, table)).astype(float)
    found = fit_regression(table, right, np.ones(len(right)))
    assert found.bias == pytest.approx(truth.bias, abs=0.25)
    for name in FEATURES:
        assert found.weights[name] == pytest.approx(truth.weights[name], abs=0.25)


def test_knots_rise_and_follow_what_is_right() -> None:
    random = np.random.default_rng(5)
    said = random.random(40_000)
    knots = fit_knots(said, (random.random(len(said)) < said**2).astype(float), np.ones(len(said)))
    assert len(knots) == 20
    for x, y in knots:
        assert y == pytest.approx(x**2, abs=0.03)
    falling = fit_knots(said, (random.random(len(said)) < 1 - said).astype(float), np.ones(len(said)))
    assert [y for _, y in falling] == [pytest.approx(0.5, abs=0.01)]
    never = fit_knots(said, np.zeros(len(said)), np.ones(len(said)))
    assert all(0 < y < 0.001 for _, y in never)
    assert fit_knots(said[:300], np.ones(300), np.ones(300)) == ()
    # Two sets that disagree: each counts as much as the other, the large one and the small one.
    large = np.arange(len(said)) < 30_000
    weight = np.where(large, 2 / 3, 2.0)
    middle = fit_knots(said, large.astype(float), weight)
    assert [y for _, y in middle] == pytest.approx([0.5] * len(middle), abs=0.08)


def test_all_sets_count_the_same() -> None:
    clips = [judged_clip("a", "s", [(0.5, True)] * 3), replace(judged_clip("b", "t", [(0.5, True)]), set_name="other")]
    assert set_weights(clips) == pytest.approx([2 / 3, 2 / 3, 2 / 3, 2.0])


def test_a_known_miscalibration_is_repaired() -> None:
    """Overconfident by far: the odds of a word are the square root of what is claimed."""
    table = table_of(random_evidence(12_000))
    claimed = apply(CALIBRATION, table)
    odds = np.sqrt(claimed / (1 - claimed))
    right = (np.random.default_rng(2).random(len(claimed)) < odds / (1 + odds)).astype(float)
    clip = np.arange(len(claimed)) // 10
    before = measure(Judged(confidence=claimed, right=right, clip=clip))
    confidence = cross_validated(table, right, np.ones(len(right)), clip % 5)
    after = measure(Judged(confidence=confidence, right=right, clip=clip))
    assert before is not None and after is not None
    assert before.ece.value > 0.1
    assert after.ece.value < after.noise + 0.01
    assert after.nce > before.nce


def test_evidence_never_counts_against_a_word() -> None:
    table = table_of(random_evidence(4000))
    random = np.random.default_rng(3)
    right = (random.random(4000) < 1 / (1 + np.exp(3 * (table[:, 1] - 0.5) - table[:, 0]))).astype(float)
    found = fit_regression(table, right, np.ones(len(right)))  # a larger share makes words worse here
    assert found.weights["share"] == 0.0
    assert found.weights["posterior"] > 0.3
    assert all(found.weights[name] >= 0 for name in MONOTONE)


def test_what_never_changes_gets_no_weight() -> None:
    table = table_of([one._replace(share=1.0) for one in random_evidence(2000)])
    right = (np.random.default_rng(4).random(2000) < 0.3).astype(float)
    found = fit_regression(table, right, np.ones(len(right)))
    assert found.weights["share"] == 0.0
    assert apply(found, table).mean() == pytest.approx(right.mean(), abs=0.005)


def test_no_speaker_is_in_two_folds() -> None:
    clips = [judged_clip(f"c{i}", f"s{i % 7}" if i % 10 else None, [(0.5, True)] * (i % 4)) for i in range(60)]
    folds = fold_numbers(clips)
    units = [clip.unit for clip in clips for _ in clip.words]
    assert len(folds) == len(units)
    assert all(len({f for f, u in zip(folds, units, strict=True) if u == unit}) == 1 for unit in set(units))
    assert set(folds) == set(range(5))
    with pytest.raises(ConfigError, match="one speaker"):
        fold_numbers([judged_clip("a", "s", [(0.5, True)]), judged_clip("b", "s", [(0.5, True)])])


def test_clips_and_abstention() -> None:
    clips = [
        judged_clip("a", "s", [(0.9, True), (0.5, False)]),
        judged_clip("b", "s", [(0.2, False)]),
        judged_clip("c", "s", []),
    ]
    error = segment_error(clips)
    assert (error.clips, error.bias, error.error) == (2, pytest.approx(0.2), pytest.approx(0.2))
    assert error.guess == pytest.approx(0.25)
    (row,) = abstention(gather(clips), [0.4])
    assert (row.kept, row.right_among_kept, row.right_kept, row.wrong_kept) == (pytest.approx(2 / 3), 0.5, 1.0, 0.5)
    assert segment_error([]).clips == 0


def test_a_report_has_hotwords_that_are_said_and_others_that_are_not() -> None:
    def clips(name: str, *texts: str) -> EvaluationSet:
        utterances = (Utterance(id=text, audio=Path(text), duration_s=1.0, text=text, corpus="set") for text in texts)
        return EvaluationSet(name=name, utterances=tuple(utterances))

    said, unsaid = clips("a", "Quilter quilter, manner", "manner", "it"), clips("b", "manner russians", "is russians")
    bundle = read_bundle(TINY)  # without a language model: the words of the other sets are the known ones
    hotwords = report_hotwords(bundle, [said], [unsaid], normaliser("en"), 5)
    assert list(hotwords.phrases) == ["quilter", "manner", "russians"]
    with pytest.raises(ConfigError, match="that could be a hotword"):
        report_hotwords(bundle, [clips("a", "so it is")], [unsaid], normaliser("en"), 2)


def test_half_of_the_short_sentences_make_a_grammar() -> None:
    long = "one two three four five six seven eight nine"
    texts = ("Stop now", "go on", "it isn't it", "stop now", long)
    clips = EvaluationSet(
        name="a",
        utterances=tuple(
            Utterance(id=str(i), audio=Path(text), duration_s=1.0, text=text, corpus="a")
            for i, text in enumerate(texts)
        ),
    )
    assert has_short_sentences([clips], normaliser("en"))
    grammar = sentence_grammar([clips], normaliser("en"))
    assert [grammar.accepts(text) for text in ("go on", "it isn't it", "stop now", long)] == [True, False, True, False]
    assert grammar.accepts("go now") and grammar.accepts("stop stop") and not grammar.accepts("on go")
    assert not has_short_sentences([replace(clips, utterances=clips.utterances[4:])], normaliser("en"))


def test_confidences_with_a_grammar_are_fitted_on_commands_alone() -> None:
    words = ("light", "radio", "heating", "window", "door", "lamp", "tap", "fan")
    grammar = Grammar.from_text(f"intent do: (open|close) the {{what}} now\nlist what: {' | '.join(words)}\n")
    recognizer = Recognizer(TINY)
    names = recognizer.bundle.tokens.names
    commands = CommandRecognizer(recognizer, grammar, CommandConfig(min_llr=-2.0, min_command_score=-3.0))
    random = np.random.default_rng(0)

    def heard(text: str, said: str, number: int) -> HeardClip:
        """A clip in which `said` is written down, and something like `text` is to be heard."""
        rows = []
        for letter in text.replace(" ", "|"):
            row = random.dirichlet(np.full(len(names), 0.2)) * random.uniform(0.0, 0.7)
            row[names.index(letter)] += 1 - row.sum()
            blank = np.full(len(names), 1e-3)
            blank[0] = 1 - 1e-3 * (len(names) - 1)
            rows += [row, blank]
        utterance = Utterance(
            id=str(number), audio=Path("x"), duration_s=1.0, text=said, corpus="a", speaker=f"s{number % 9}"
        )
        rows_array = np.log(np.maximum(rows, 1e-9)).astype(np.float32)
        return HeardClip(set_name="a", condition=Condition(), utterance=utterance, rows=rows_array)

    clips = []
    for number in range(90):
        said = f"open the {random.choice(words)} now"
        text = said if number % 4 else f"close the {random.choice(words)} now"
        clips.append(heard(text, said, number))
    others = [heard("my mother likes the garden", "my mother likes the garden", 90)]
    long = [heard(clips[1].utterance.text or "", "one two three four five six seven eight nine", 91)]
    normalise = normaliser("en")
    assert clips_for(recognizer, others, normalise) == others
    chosen = clips_for(commands, [*clips, *others, *long], normalise)
    assert set(map(id, chosen)) <= set(map(id, clips)) and len(chosen) > 80
    assert long[0] in clips_for(commands, long, normalise, most_words=None)
    fitted = fit(commands, chosen, normalise)
    assert fitted.calibration.fit["words"] == 4 * len(chosen)
    assert fitted.after[""].ece.value < fitted.before[""].ece.value


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory, samples_dir: Path) -> Path:
    """A data folder: pieces of the samples, with what the tiny bundle hears in them, partly changed, as the truth."""
    root = tmp_path_factory.mktemp("data")
    for folder in ("speech", "noise"):
        (root / folder).mkdir()
    speech = np.concatenate([soundfile.read(path, dtype="float32")[0] for path in sorted(samples_dir.glob("*.flac"))])
    random = np.random.default_rng(0)
    recognizer = Recognizer(TINY)
    lines = []
    for number in range(16):
        begin = int(random.integers(len(speech) - 64_000))
        clip = speech[begin : begin + 64_000]
        soundfile.write(root / "speech" / f"{number}.flac", clip, 16_000, subtype="PCM_16")
        heard = soundfile.read(root / "speech" / f"{number}.flac", dtype="float32")[0]
        words = recognizer.transcribe(heard, sample_rate=16_000).words
        text = " ".join(
            f"zzzzz{chr(97 + place % 26)}" if word.confidence < random.random() else word.text
            for place, word in enumerate(words)
        )
        entry = {"id": f"c{number}", "audio": f"{number}.flac", "duration_s": 4.0, "text": text}
        lines.append(json.dumps({**entry, "speaker": f"s{number % 6}"}))
    for name in ("librispeech.dev", "librispeech.test"):
        (root / "speech" / f"{name}.jsonl").write_text("\n".join(lines) + "\n")
    for number in range(4):
        noise = random.normal(0, 0.1, 48_000).astype(np.float32)
        soundfile.write(root / "noise" / f"{number}.opus", noise, 48_000, format="OGG", subtype="OPUS")
    return root


def words_said(data: Path) -> set[str]:
    (clips,) = find_sets(data, ["librispeech.dev"], normaliser("en"))
    return {word for utterance in clips.utterances for word in normaliser("en")(utterance.text or "").split()}


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    return Path(shutil.copytree(TINY, tmp_path / "copy"))


def test_the_command_fits_writes_and_reports(data: Path, copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    common = [str(copy), "--data", str(data), "--cache", str(copy.parent / "cache")]
    files = ["--json", str(copy.parent / "f.json"), "--markdown", str(copy.parent / "f.md")]
    sets = ["--sets", "librispeech.dev"]
    lexicon = copy.parent / "words.txt"
    lexicon.write_text("".join(f"{word}\n" for word in sorted(words_said(data))))
    modes = ["--mode", "greedy", "--mode", "beam", "--mode", "lexicon", "--lexicon", str(lexicon)]
    assert main(["calibrate", *common, *sets, "--snr", "50", *modes, *files]) == 0
    bundle = read_bundle(copy)
    assert set(bundle.calibration) == {"greedy", "beam", "lexicon"}
    fit = bundle.calibration["beam"].fit
    assert (fit["sets"], fit["conditions"], fit["clips"], fit["speakers"]) == (
        ["librispeech.dev"],
        ["clean", "50 dB"],
        16,
        6,
    )
    assert Recognizer(copy).calibrated
    document = json.loads((copy.parent / "f.json").read_text())
    assert document["beam"]["after"]["all"]["words"] == fit["words"]
    assert set(document["greedy"]["before"]) == {"all", "clean", "50 dB"}
    assert "| beam |" in (copy.parent / "f.md").read_text().replace("  ", " ")

    pictures = copy.parent / "pictures"
    report = ["--report", "librispeech.test", "--snr", "--pictures", str(pictures), *files]
    before = (copy / "config.json").read_bytes()
    capsys.readouterr()
    assert main(["calibrate", *common, *sets, "--mode", "beam", "--hotwords", "5", *report]) == 0
    assert (copy / "config.json").read_bytes() == before
    shown = capsys.readouterr().out
    assert "Abstention" in shown and "greedy" not in shown
    found = json.loads((copy.parent / "f.json").read_text())["beam, clean"]
    assert found["after"]["nce"] > found["before"]["nce"] - 0.2
    assert len(found["abstention"]) == 4
    names = ["reliability-beam-clean.svg", "reliability-beam-hotwords-clean.svg"]
    assert sorted(path.name for path in pictures.iterdir()) == names
    assert all(f"(pictures/{name})" in (copy.parent / "f.md").read_text() for name in names)


def test_an_uncalibrated_bundle_is_reported_as_such(data: Path, copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    args = ["calibrate", str(copy), "--data", str(data), "--cache", str(copy.parent / "cache")]
    assert main([*args, "--report", "librispeech.test", "--snr", "--mode", "greedy", "--limit", "9"]) == 0
    shown = capsys.readouterr().out
    assert "Abstention" not in shown
    assert "greedy  clean" in shown


def test_a_grammar_without_commands_in_the_clips(data: Path, copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    grammar = copy.parent / "say.grammar"
    grammar.write_text("intent say: something that nobody says\n")
    common = [str(copy), "--data", str(data), "--cache", str(copy.parent / "cache"), "--snr", "--mode", "grammar"]
    common += ["--grammar", str(grammar)]
    pictures = ["--pictures", str(copy.parent / "pictures"), "--markdown", str(copy.parent / "f.md")]
    assert main(["calibrate", *common, "--report", "librispeech.test", *pictures]) == 0
    assert "--mode grammar --snr --grammar say.grammar" in (copy.parent / "f.md").read_text()
    assert main(["calibrate", *common, "--sets", "librispeech.dev"]) == 2
    assert "0 words were recognised" in capsys.readouterr().err


def test_what_the_command_refuses(data: Path, copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    args = ["calibrate", str(copy), "--data", str(data), "--cache", str(copy.parent / "cache")]
    for options, message in (
        (["--sets", "librispeech.dev", "--mode", "fast"], "mode 'fast' is not one that"),
        (["--sets", "librispeech.dev", "--snr", "--limit", "2", "--mode", "beam"], "too few to fit a calibration on"),
        (["--sets", "librispeech.dev", "--mode", "lexicon"], "mode 'lexicon' is not one that"),
        (["--sets", "librispeech.dev", "--pictures", "pictures"], "--pictures goes with --report"),
        (["--json", "/nowhere/x.json"], "there is no folder /nowhere"),
    ):
        assert main([*args, *options]) == 2
        assert message in capsys.readouterr().err


def test_the_network_hears_each_clip_once(data: Path, copy: Path, tmp_path: Path) -> None:
    (clips,) = find_sets(data, ["librispeech.dev"], normaliser("en"), limit=3)
    conditions = [Condition(), Condition(snr_db=5.0), Condition(snr_db=5.0, odd=True)]
    first = LogProbs(Recognizer(copy), data, tmp_path / "cache")
    heard = [list(first.load(clips, condition)) for condition in conditions]
    assert len({clip[0].rows.tobytes() for clip in heard}) == 3
    files = sorted((tmp_path / "cache").iterdir())
    times = [path.stat().st_mtime_ns for path in files]
    again = LogProbs(Recognizer(copy), data, tmp_path / "cache")
    for condition, expected in zip(conditions, heard, strict=True):
        for mine, theirs in zip(again.load(clips, condition), expected, strict=True):
            assert mine.utterance == theirs.utterance
            np.testing.assert_array_equal(mine.rows, theirs.rows)
    assert [path.stat().st_mtime_ns for path in sorted((tmp_path / "cache").iterdir())] == times


def test_noise_is_asked_for_and_not_there(data: Path, copy: Path, tmp_path: Path) -> None:
    (tmp_path / "speech").symlink_to(data / "speech")
    (clips,) = find_sets(tmp_path, ["librispeech.dev"], normaliser("en"), limit=1)
    with pytest.raises(ConfigError, match="noise"):
        list(LogProbs(Recognizer(copy), tmp_path, tmp_path / "cache").load(clips, Condition(snr_db=5.0)))


def test_judged_words_are_those_of_the_recogniser(data: Path, copy: Path, tmp_path: Path) -> None:
    """From log-probs on disk comes what a stream makes of the sound, bit for bit."""
    update_bundle(copy, calibration={"beam": CALIBRATION})
    recognizer = Recognizer(copy, decoder="beam")
    (clips,) = find_sets(data, ["librispeech.dev"], normaliser("en"), limit=4)
    heard = list(LogProbs(recognizer, data, tmp_path / "cache").load(clips, Condition()))
    judged = judge(recognizer, heard, normaliser("en"), CALIBRATION)
    for clip, found in zip(clips.utterances, judged, strict=True):
        words = [word for word in recognizer.transcribe(clip.audio).words if word.text.strip("'")]
        assert [word.confidence for word in words] == [word.confidence for word in found.words]
    right = [word.right for clip in judged for word in clip.words]
    assert 0 < sum(right) < len(right)
    plain = judge(recognizer, heard, normaliser("en"), None)
    for one, other in zip(judged, plain, strict=True):
        for mine, theirs in zip(one.words, other.words, strict=True):
            assert mine.evidence._replace(share=1.0) == theirs.evidence._replace(share=1.0)
            assert theirs.confidence == theirs.evidence.posterior_product
