"""The report of an evaluation: every part is there, says what was measured, and is the same each time."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest

from edgeasr.errors import ConfigError
from edgeasr.train.evaluation.evaluate import LiveClip, SystemResult, make_result
from edgeasr.train.evaluation.evaluation_report import Evaluation, json_latency
from edgeasr.train.evaluation.page import html_page, write_page
from edgeasr.train.manifest import Utterance

LABELS = {"go on": "next", "go back": "previous"}
SAID = [
    ("books.dev", "go on", "a"),
    ("books.dev", "go back", "a"),
    ("books.dev", "go back", "b"),
    ("calls.dev", "stop", None),
]


def results(name: str, *heard: str, condition: str = "clean", sure: bool = False):
    found = []
    for number, ((set_name, text, speaker), hypothesis) in enumerate(zip(SAID, heard, strict=True)):
        utterance = Utterance(
            id=str(number),
            audio=Path("none"),
            duration_s=2.0,
            text=text,
            corpus="",
            speaker=speaker,
            gender="f" if speaker == "a" else None,
            label=LABELS.get(text),
        )
        confidences = tuple(0.5 + 0.1 * n for n in range(len(hypothesis.split()))) if sure else None
        found.append(
            make_result(
                set_name,
                utterance,
                reference=text,
                hypothesis=hypothesis,
                cpu_s=0.02 if condition == "clean" else 0.0,
                condition=condition,
                confidences=confidences,
            )
        )
    return found


GOOD = SystemResult(
    name="good",
    results=(
        *results("good", "go on", "go back", "go on", "stop", sure=True),
        *results("good", "go on", "go back", "", "stop", condition="10 dB", sure=True),
    ),
    load_cpu_s=0.5,
    peak_memory_mb=80.0,
    calibrated=True,
    live=tuple(LiveClip(set_name="books.dev", final_s=s, first_text_s=f) for s, f in ((0.01, 1.0), (0.03, None))),
)
BAD = SystemResult(
    name="bad",
    results=(
        *results("bad", "go", "go black", "no", "stop it"),
        *results("bad", "go", "", "", "", condition="10 dB"),
    ),
    load_cpu_s=0.1,
    peak_memory_mb=30.0,
)


@pytest.fixture
def evaluation():
    return Evaluation([GOOD, BAD], [(BAD, GOOD)], labels=LABELS)


def test_tables(evaluation):
    assert evaluation.conditions == ["clean", "10 dB"]
    head, *rows = evaluation.rate_table(0)
    assert head[:3] == ("condition", "set", "group")
    # One word of six in books.dev, and of seven in all.
    by_name = {row[:2]: row for row in rows}
    assert by_name["clean", "books.dev"][5] == "16.67" and by_name["clean", "all sets"][5] == "14.29"
    assert by_name["10 dB", "books.dev"][5] == "33.33" and by_name["10 dB", "books.dev"][-1] == ""
    assert by_name["clean", "books.dev"][-1] == "0.0100"
    assert len(evaluation.rate_table(0, ["gender"])) == len(rows) + 1 + 2 * 2
    sets = evaluation.set_table()
    assert sets[0][-2:] == ("good", "bad") and len(sets) == 7
    # bad: "go" for "go on" (1), "go black" (1), "no" for "go back" (2), "stop it" (1): 5 of 7 words.
    assert {row[:2]: row[-1].split()[0] for row in sets}["clean", "all sets"] == "71.4"
    (commands, *_) = evaluation.label_table()[1:]
    assert commands[:5] == ("good", "clean", "books.dev", "2", "66.67")
    (difference, *_) = (row for row in evaluation.comparison_table() if row[2:4] == ("clean", "all sets"))
    assert difference[:2] == ("bad", "good") and difference[4] == "+57.14" and difference[6] == "+400.0"
    assert all(0 < float(p) <= 1 for p in difference[8:10])
    assert [row[:5] for row in evaluation.cost_table()[1:]] == [
        ("good", "0.0100", "100", "0.50", "80"),
        ("bad", "0.0100", "100", "0.10", "30"),
    ]
    assert evaluation.cost_table()[1][5:] == ("2", "20.0", "29.0", "1.00", "1.00")
    assert evaluation.cost_table()[2][5:] == ("0", "-", "-", "-", "-")


def test_confidences_are_judged_along_the_alignment(evaluation):
    # The words of "good" are right but for the second "on" of books.dev.
    table = evaluation.confidence_table()
    assert [row[:6] for row in table[1:3]] == [
        ("good", "yes", "clean", "books.dev", "6", "83.3"),
        ("good", "yes", "clean", "all sets", "7", "85.7"),
    ]
    assert all(row[0] == "good" for row in table[1:])


def test_confusions_are_shown_with_spaces(evaluation):
    tables = dict(evaluation.confusion_tables(0, 5))
    assert tables["Words taken for others:"] == [("said", "recognised", "times", "of"), ("back", "on", "1", "2")]
    assert "Words added:" not in tables
    assert evaluation.confusion_tables(0, 5, "10 dB") != evaluation.confusion_tables(0, 5)
    # "go on" is heard as "go", "go back" as "no".
    assert ("(space)", "", "2", "3") in dict(evaluation.confusion_tables(1, 5))["Characters left out:"]


def test_json_holds_what_cards_read_and_more(evaluation):
    document = json.loads(json.dumps(evaluation.document(language="en", version="1")))
    good, _ = document["systems"]
    books = good["sets"]["books.dev"]
    assert books["wer_percent"]["value"] == 16.667 and books["speaker"]["a"]["clips"] == 2
    assert good["conditions"]["10 dB"]["sets"]["books.dev"]["wer_percent"]["value"] == 33.333
    assert good["labels"]["books.dev"]["labels"]["previous"]["recall_percent"] == 50
    assert good["labels"]["books.dev"]["confused"] == [{"label": "previous", "recognised": "next", "clips": 1}]
    assert good["confidence"]["all sets"]["words"] == 7 and good["calibrated"]
    assert good["confusions"]["words"]["substitutions"] == [["back", "on", 1, 2]]
    assert good["latency"] == {
        "clips": 2,
        "final_ms": {"p50": 20.0, "p95": 29.0},
        "clips_with_partial_text": 1,
        "first_text_s": {"p50": 1.0, "p95": 1.0},
    }
    (difference,) = document["differences"]
    assert difference["sets"]["all sets"]["relative_wer_percent"]["value"] == 400
    assert set(difference["sets"]["all sets"]["wer_p"]) == {"utterance", "speaker"}
    assert set(difference["conditions"]) == {"10 dB"}
    assert json_latency(BAD) is None


def test_a_card_has_no_speakers_and_needs_clean_clips(evaluation):
    document = evaluation.document(language="en", version="1", for_card=True)
    good, _ = document["systems"]
    assert "speaker" not in good["sets"]["books.dev"] and "gender" in good["sets"]["books.dev"]
    assert "confusions" not in good and "conditions" not in good and "labels" not in good["labels"]["books.dev"]
    noisy = replace(GOOD, results=tuple(r for r in GOOD.results if r.condition != "clean"))
    with pytest.raises(ConfigError, match="a card needs the condition 'clean'"):
        Evaluation([noisy]).document(language="en", version="1", for_card=True)
    assert Evaluation([noisy]).document(language="en", version="1")["systems"][0]["sets"] == {}


def test_a_report_as_html_and_as_markdown(evaluation, tmp_path):
    sections = evaluation.sections("`edgeasr evaluate dev`, here.")
    headings = [section.heading for section in sections]
    assert headings == ["Word error rates", "Differences, paired", "Commands", "Confidence", "Cost", "good", "bad"]
    pictures = [picture for section in sections for picture in section.pictures]
    assert [name for name, _ in pictures] == [
        "sets",
        "conditions",
        "labels-1-books.dev",
        "labels-2-books.dev",
        "reliability-1",
    ]
    for _, svg in pictures:
        ElementTree.fromstring(svg)
    write_page(tmp_path / "r.html", "A & B", sections)
    page = (tmp_path / "r.html").read_text()
    assert page.count("<svg") == 5 and "<title>A &amp; B</title>" in page
    assert "<code>edgeasr evaluate dev</code>" in page and "src=" not in page
    ElementTree.fromstring(page.removeprefix("<!DOCTYPE html>").replace('<meta charset="utf-8">', ""))
    write_page(tmp_path / "r.md", "A", sections)
    text = (tmp_path / "r.md").read_text()
    links = [line.split("](")[1].rstrip(")") for line in text.splitlines() if line.startswith("![")]
    assert len(links) == 5 and all((tmp_path / link).is_file() for link in links)
    assert html_page("A", sections) == html_page(
        "A", Evaluation([GOOD, BAD], [(BAD, GOOD)], labels=LABELS).sections("`edgeasr evaluate dev`, here.")
    )


def test_pages_that_cannot_be_written(tmp_path):
    with pytest.raises(ConfigError, match=r"ends with \.md or \.html"):
        write_page(tmp_path / "r.pdf", "A", [])
    with pytest.raises(ConfigError, match="there is no folder"):
        write_page(tmp_path / "none" / "r.md", "A", [])


def test_cells_do_not_break_tables(tmp_path):
    from edgeasr.train.evaluation.page import Section

    section = Section(heading="h", tables=[("", [("a|b", "c"), ("<x>", "1")])])
    write_page(tmp_path / "r.md", "A", [section])
    assert r"| a\|b | c |" in (tmp_path / "r.md").read_text()
    assert '<td>&lt;x&gt;</td><td class="number">1</td>' in html_page("A", [section])
