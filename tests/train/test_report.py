"""The report of a run: written from its files, at any time."""

import json
from html.parser import HTMLParser

import pytest

from edgeasr.cli import main
from edgeasr.errors import ConfigError
from edgeasr.train.report import MOST_POINTS, points_of, write_report
from edgeasr.train.run_log import COST, DEV, METRICS, RECIPE, UNREADABLE

RECIPE_TABLE = {"name": "a<b", "optimizer": {"steps": 20}, "release": {"description": "tones & words"}}


COST_HEAD = ["session", "steps", "processes", "speech heard, h", "time", "CPU time", "energy"]


def clip(number, reference, hypothesis, **fields):
    return {
        "set": "tones.dev",
        "id": f"c{number}",
        "audio": f"{number}.flac",
        "duration_s": 30.0,
        "corpus": "tones",
        "reference": reference,
        "hypothesis": hypothesis,
        **fields,
    }


@pytest.fixture
def run(tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / RECIPE).write_text(json.dumps(RECIPE_TABLE))
    lines = [{"step": step, "loss": 3 / step, "side_loss": 2.0, "tokens_loss": 1.0, "rate": 1e-3} for step in (1, 2, 3)]
    lines.append({"step": 3, "cer tones.dev": 40.0, "wer tones.dev": 60.0})
    (folder / METRICS).write_text("".join(json.dumps(line) + "\n" for line in lines) + '{"step": 4, "lo')
    return folder


class Texts(HTMLParser):
    """The cells of the tables, row by row, and the titles of the pictures."""

    def __init__(self, page):
        super().__init__()
        self.rows, self.open, self.text = [], [], ""
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        if tag not in ("meta", "path", "rect", "circle"):
            self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_endtag(self, tag):
        if tag not in ("meta", "path", "rect", "circle"):
            assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data
        if self.open and self.open[-1] in ("td", "th"):
            self.rows[-1][-1] += data


def read(path):
    page = path.read_text(encoding="utf-8")
    assert "http" not in page.replace("http://www.w3.org/2000/svg", "")  # nothing is fetched
    texts = Texts(page)
    assert texts.open == []
    return texts


def test_a_run_that_has_just_begun(tmp_path):
    (tmp_path / RECIPE).write_text(json.dumps(RECIPE_TABLE))
    texts = read(write_report(tmp_path))
    assert "Step 0 of 20: not finished" in texts.text
    assert "Nothing has been measured yet" in texts.text


def test_curves_error_rates_confusions_and_cost(run):
    clips = [
        clip(0, "ab ba", "ab ca", speaker="x", gender="female", age=30),
        clip(1, "ab", "ab", speaker="y", gender="male", age=70),
    ]
    (run / DEV).write_text(json.dumps({"step": 3, "whole": False, "clips": clips}))
    session = {"started": "2026-01-01T00:00:00+00:00", "processes": 1, "energy_meters": []}
    sessions = [
        {**session, "first_step": 0, "last_step": 2, "heard_s": 3600, "wall_s": 60, "cpu_s": 90, "energy_j": None},
        {**session, "first_step": 1, "last_step": 3, "heard_s": 1800, "wall_s": 3601, "cpu_s": 31, "energy_j": None},
    ]
    (run / COST).write_text(json.dumps({"sessions": sessions}))
    row = {"audio": "<c9>.flac", "reason": "the file is empty"}
    (run / UNREADABLE).write_text(json.dumps(row) + "\n")
    texts = read(write_report(run))
    for title in ("Loss on the transcripts", "Losses beside it", "Character error rate on the way", "Learning rate"):
        assert title in texts.text
    assert "tones & words" in texts.text and "After step 3, some clips" in texts.text
    rows = {tuple(row[:2]): row for row in texts.rows}
    assert rows["tones.dev", ""][2:5] == ["2", "3", "33.33"]
    assert rows["tones.dev", "gender female"][4] == "50.00"
    assert rows["tones.dev", "age 60+"][4] == "0.00"
    assert ["ba", "ca", "1", "1"] in texts.rows and ["b", "c", "1", "3"] in texts.rows
    assert ["together", "", "", "1.50", "1:01:01", "0:02:01", "not measured"] in texts.rows
    assert ["optimizer.steps", "20"] in texts.rows
    assert ["<c9>.flac", "the file is empty"] in texts.rows


def test_energy_of_some_sessions(run):
    session = {"started": "x", "processes": 2, "heard_s": 1, "wall_s": 1, "cpu_s": 1, "last_step": 3}
    metered = {**session, "first_step": 2, "energy_j": 7200.0, "energy_meters": ["RAPL package-0"]}
    blind = {**session, "first_step": 1, "energy_j": None, "energy_meters": []}
    (run / COST).write_text(json.dumps({"sessions": [blind, metered]}))
    texts = read(write_report(run))
    assert texts.rows[1 + texts.rows.index(COST_HEAD)][-1] == "2.0 Wh (in 1 of 2 sessions)"
    assert "measured by RAPL package-0" in texts.text
    assert "What the 1 steps before the first session have cost is not known" in texts.text


def test_long_curves_are_thinned_out():
    metrics = [{"step": step, "loss": step % 2} for step in range(1000)]
    points = points_of(metrics, "loss")
    assert MOST_POINTS / 2 < len(points) <= MOST_POINTS
    assert points[0] == (1.5, 0.5)


def test_the_command(run, tmp_path, capsys):
    assert main(["report", str(run), "-o", str(tmp_path / "page.html")]) == 0
    assert capsys.readouterr().out.strip() == str(tmp_path / "page.html")
    read(tmp_path / "page.html")
    assert main(["report", str(run), "-o", str(tmp_path / "page.md")]) == 0
    assert "## Cost" in (tmp_path / "page.md").read_text() and (tmp_path / "page" / "loss.svg").is_file()
    assert main(["report", str(run), "-o", str(tmp_path / "page.pdf")]) == 2
    assert "page.pdf: expected a name that ends with .md or .html" in capsys.readouterr().err
    assert main(["report", str(tmp_path)]) == 2
    assert "no run in" in capsys.readouterr().err
    with pytest.raises(ConfigError, match="no run in"):
        write_report(tmp_path)
