"""Commands by their labels, on a confusion matrix that is worked out by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgeasr.errors import ConfigError
from edgeasr.train.evaluation.evaluate import make_result, normaliser
from edgeasr.train.evaluation.labels import NONE, label_texts, score_labels
from edgeasr.train.manifest import Utterance, read_manifest

TEXTS = {"خلف": "backward", "أمام": "forward", "قف": "stop"}


def heard(number: int, text: str, hypothesis: str, speaker: str | None = None):
    utterance = Utterance(
        id=str(number),
        audio=Path("none.wav"),
        duration_s=1.0,
        text=text,
        corpus="a",
        speaker=speaker,
        label=TEXTS.get(text),
    )
    return make_result("a.dev", utterance, reference=text, hypothesis=hypothesis)


#            recognised   backward  forward  none
# said   backward (4)        3         1      0
#        forward  (3)        1         1      1
RESULTS = [
    heard(0, "خلف", "خلف", "s"),
    heard(1, "خلف", "خلف", "s"),
    heard(2, "خلف", "خلف", "t"),
    heard(3, "خلف", "أمام", "t"),
    heard(4, "أمام", "خلف", "s"),
    heard(5, "أمام", "أمام", "t"),
    heard(6, "أمام", "أما", None),
]


def test_figures_by_hand():
    scores = score_labels(RESULTS, TEXTS)
    backward, forward, stop = scores.labels
    assert (backward.label, backward.clips, backward.found, backward.right) == ("backward", 4, 4, 3)
    assert (backward.precision, backward.recall, backward.f1) == (0.75, 0.75, 0.75)
    assert (forward.precision, forward.recall, forward.f1) == (1 / 2, 1 / 3, pytest.approx(0.4))
    assert (stop.clips, stop.found, stop.precision, stop.recall, stop.f1) == (0, 0, 0, 0, 0)
    assert scores.accuracy.value == pytest.approx(4 / 7)
    # "stop" is neither said nor recognised, so that it is no part of the means.
    assert scores.macro_f1.value == pytest.approx((0.75 + 0.4) / 2)
    assert scores.macro_precision == pytest.approx((0.75 + 0.5) / 2)
    assert scores.macro_recall == pytest.approx((0.75 + 1 / 3) / 2)
    assert scores.none == pytest.approx(1 / 7)
    np.testing.assert_array_equal(scores.matrix, [[3, 1, 0, 0], [1, 1, 0, 1], [0, 0, 0, 0]])
    assert scores.confused == [("backward", "forward", 1), ("forward", NONE, 1), ("forward", "backward", 1)]


def test_intervals_by_clip_and_by_speaker():
    by_clip, by_speaker = score_labels(RESULTS, TEXTS), score_labels(RESULTS, TEXTS, by_speaker=True)
    for scores in (by_clip, by_speaker):
        for interval in (scores.accuracy, scores.macro_f1):
            assert 0 <= interval.low <= interval.value <= interval.high <= 1
    assert by_clip.accuracy != by_speaker.accuracy
    # Whoever is drawn, all is right.
    right = [heard(number, text, text, "s") for number, text in enumerate(TEXTS)]
    assert score_labels(right, TEXTS).macro_f1.low == 1
    assert score_labels(right, TEXTS, by_speaker=True).macro_f1.low is None


def test_clips_without_a_label_are_left_out():
    assert score_labels([heard(0, "غير", "خلف")], TEXTS) is None
    assert score_labels([heard(0, "غير", "خلف"), RESULTS[0]], TEXTS).accuracy.value == 1


def test_labels_of_a_manifest(tmp_path):
    manifest = tmp_path / "a.dev.jsonl"
    line = '{{"id": "{}", "audio": "a.wav", "duration_s": 1, "text": "{}", "label": {}}}\n'
    manifest.write_text(line.format("1", "Go back", '"backward"') + line.format("2", "hm", "null"))
    clips = read_manifest(manifest)
    assert [clip.label for clip in clips] == ["backward", None]
    assert label_texts(clips, normaliser("en")) == {"go back": "backward"}
    manifest.write_text(line.format("1", "Go back", '"backward"') + line.format("2", "go-back", '"return"'))
    with pytest.raises(ConfigError, match="2: 'go back' has the label 'return', but 'backward' in other clips"):
        label_texts(read_manifest(manifest), normaliser("en"))
