"""The steps from speech to a bundle: the page of the documentation, and labels by a recipe."""

import json
import logging
import re
import sys
import types
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from conftest import ROOT
from transducers import write_transducer

torch = pytest.importorskip("torch")

from edgeasr.cli import main  # noqa: E402
from edgeasr.cli.progress import LogAbove, ProgressBar  # noqa: E402
from edgeasr.errors import ConfigError, MissingDependencyError  # noqa: E402
from edgeasr.train import workflow  # noqa: E402
from edgeasr.train.loop import StepReport  # noqa: E402
from edgeasr.train.recipe import EvaluationConfig, read_recipe  # noqa: E402
from edgeasr.train.run_log import DEV, METRICS, RECIPE, TENSORBOARD, read_sessions  # noqa: E402
from edgeasr.train.student import Student  # noqa: E402

MANIFEST = "speech/tones.train.jsonl"


def test_the_page_on_training_from_clips_to_text(tone_data, tmp_path, monkeypatch, capsys):
    page = (ROOT / "docs" / "training.md").read_text(encoding="utf-8")
    recipe = next(block for block in re.findall(r"```toml\n(.*?)```", page, re.S) if "name = " in block)
    rows = [json.loads(line) for line in (tone_data / MANIFEST).read_text().splitlines()]
    for row in rows:
        row["audio"] = str(tone_data / "speech" / row["audio"])
        row["speaker"], row["gender"] = f"s{len(row['text']) % 2}", ("female", "male")[len(row["text"]) % 2]
    rows[5]["audio"] = "nowhere.flac"
    rows[5]["duration_s"] = 1.0
    data = tmp_path / "recordings"
    data.mkdir()
    (data / "mine.train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows[4:]))
    (data / "mine.dev.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows[:4]))
    assert "steps = 6000" in recipe
    monkeypatch.chdir(tmp_path)
    Path("mine.toml").write_text(recipe.replace("steps = 6000", "steps = 2"))

    assert main(["train", "mine.toml", "--data", "recordings", "--threads", "1"]) == 0
    run = Path("runs/mine")
    assert capsys.readouterr().out.strip() == str(run / "report.html")
    assert json.loads((run / RECIPE).read_text())["student"]["dim"] == 128
    assert json.loads((run / "unreadable.jsonl").read_text()) == {
        "audio": str(Path("recordings/nowhere.flac")),
        "reason": "No such file or directory",
    }
    assert json.loads((run / DEV).read_text())["whole"]
    report = (run / "report.html").read_text()
    assert "gender female" in report and "nowhere.flac" in report and "mine.dev" in report
    assert read_sessions(run)[0]["cpu_s"] > 0

    # Once more costs nothing.
    before = (run / METRICS).read_bytes()
    assert main(["train", "mine.toml", "--data", "recordings", "--threads", "1"]) == 0
    assert (run / METRICS).read_bytes() == before and len(read_sessions(run)) == 1

    assert main(["export", "mine.toml"]) == 0
    assert "mine after 2 updates, int8" in capsys.readouterr().out
    bundle = str(run / "bundle")
    assert main(["evaluate", "mine.toml", "--data", "recordings", "--model", bundle]) == 0
    shown = capsys.readouterr().out
    assert "mine.dev" in shown and "mine int8" in shown and "mine PyTorch" in shown
    assert main(["transcribe", rows[0]["audio"], "--model", bundle]) == 0


def test_a_student_is_evaluated_by_its_recipe(tone_recipe, tone_data, tmp_path):
    rows = [json.loads(line) for line in (tone_data / MANIFEST).read_text().splitlines()[:3]]
    manifest = tmp_path / "few.dev.jsonl"
    few = [row | {"audio": str(tone_data / "speech" / row["audio"])} for row in rows]
    manifest.write_text("".join(json.dumps(row) + "\n" for row in few))
    recipe = replace(read_recipe(tone_recipe), evaluation=EvaluationConfig(manifests=(str(manifest),)))
    (tmp_path / "run").mkdir()
    torch.manual_seed(0)
    checkpoint = {"step": 3, "recipe": asdict(recipe), "average": Student(recipe.student).state_dict()}
    torch.save(checkpoint, tmp_path / "run" / "checkpoint.pt")
    places = {"run_dir": tmp_path / "run", "data_dir": tone_data}
    heard = []
    found = workflow.evaluate(
        recipe, conditions=["clean", "room0.3"], on_progress=lambda *seconds: heard.append(seconds), **places
    )
    assert found.systems[0].name == "run PyTorch float32 greedy"
    assert [row[:2] for row in found.rate_table(0)[1:]] == [("clean", "few.dev"), ("room 0.3 s", "few.dev")]
    assert len(heard) == 6 and heard[-1][0] == pytest.approx(heard[-1][1])
    closed = workflow.evaluate(tone_recipe, [str(manifest)], closed=True, **places).systems[0]
    assert {r.hypothesis for r in closed.results} <= {r.reference for r in closed.results}
    with pytest.raises(ConfigError, match="no evaluation manifests"):
        workflow.evaluate(replace(recipe, evaluation=EvaluationConfig()), **places)


LABEL = """
[label]
leave_out = ["speech/tones.train.jsonl"]
[teacher]
kind = "transducer"
path = "teacher"
"""


@pytest.fixture
def data(tmp_path, tone_data):
    """Tones with and without transcripts, and a teacher that hears them."""
    folder = tmp_path / "data"
    (folder / "speech").mkdir(parents=True)
    rows = [json.loads(line) for line in (tone_data / MANIFEST).read_text().splitlines()]
    for row in rows:
        row["audio"] = str(tone_data / "speech" / row["audio"])
    (folder / MANIFEST).write_text("".join(json.dumps(row) + "\n" for row in rows[:20]))
    silent = [{**row, "text": None, "duration_s": 1.0, "speaker": "x"} for row in rows[20:]]
    (folder / "speech" / "radio.jsonl").write_text("".join(json.dumps(row) + "\n" for row in silent))
    write_transducer(folder / "teacher")
    return folder


@pytest.fixture
def recipe(tone_recipe):
    text = tone_recipe.read_text()
    radio = '{ manifest = "speech/radio.jsonl", labels = "speech/radio.labels.jsonl" }'
    text = text.replace('sources = [{ manifest = "speech/tones.train.jsonl" }]', f"sources = [{radio}]")
    tone_recipe.write_text(text + LABEL.replace('leave_out = ["speech/tones.train.jsonl"]\n', ""))
    return tone_recipe


def test_a_teacher_labels_what_training_hears(recipe, data, tmp_path, capsys):
    places = {"data_dir": data, "cache_dir": tmp_path / "cache"}
    with pytest.raises(ConfigError, match=r"radio\.labels\.jsonl is not there: `edgeasr label RECIPE` writes it"):
        workflow.train(recipe, run_dir=tmp_path / "run", **places)
    heard = []
    done = workflow.label(recipe, on_progress=lambda now_s, all_s: heard.append((now_s, all_s)), **places)
    manifest = data / "speech" / "radio.labels.jsonl"
    rows = [json.loads(line) for line in manifest.read_text().splitlines()]
    assert list(done) == [manifest] and rows
    assert (done[manifest].clips, done[manifest].kept) == (20, len(rows))
    assert heard[-1][0] == pytest.approx(heard[-1][1])
    assert all(set(row["text"]) <= set("abc ") and row["speaker"] == "x" for row in rows)
    assert Path(data / "speech" / rows[0]["audio"]).is_file()

    # The second time the teacher is not there, and need not be loaded.
    written = manifest.read_bytes()
    assert main(["label", str(recipe), "--data", str(data), "--cache", str(tmp_path / "cache")]) == 0
    assert f"{len(rows)} of 20 clips have a transcript" in capsys.readouterr().out
    assert manifest.read_bytes() == written

    dataset = workflow.loop.make_dataset(read_recipe(recipe), data, tmp_path / "cache")
    assert [u.text for u in dataset.utterances] == [row["text"] for row in rows]
    assert dataset.targets is None  # no loss learns from a teacher that only labels
    with pytest.raises(ConfigError, match=r"has no \[teacher\] that a loss learns from"):
        workflow.distil(recipe, **places)

    # Nothing is believed that the teacher is not sure of, or that is a sentence of the sets to leave out.
    text = recipe.read_text()
    recipe.write_text(text.replace("[label]", "[label]\nminimum_confidence = 0.999999"))
    assert workflow.label(recipe, **places)[manifest].dropped["of which the teacher is not sure"] > 0
    row = {"id": "t", "audio": "t.flac", "duration_s": 1, "text": rows[0]["text"]}
    (data / "speech" / "tones.test.jsonl").write_text(json.dumps(row) + "\n")
    recipe.write_text(text.replace("[label]", '[label]\nleave_out = ["test"]'))
    workflow.label(recipe, **places)
    left = [json.loads(line)["text"] for line in manifest.read_text().splitlines()]
    assert left and rows[0]["text"] not in left
    (data / "words.txt").write_text("zebra\n")
    recipe.write_text(text.replace("[label]", '[label]\nvocabulary = ["words.txt"]'))
    assert workflow.label(recipe, **places)[manifest].kept == 0


def test_labelling_needs_a_teacher_and_a_source(recipe, data, tmp_path, capsys):
    text = recipe.read_text()
    recipe.write_text(text.partition("[label]")[0])
    with pytest.raises(ConfigError, match=r"has no \[teacher\] to label with"):
        workflow.label(recipe, data_dir=data)
    recipe.write_text(text.replace(', labels = "speech/radio.labels.jsonl"', ""))
    with pytest.raises(ConfigError, match=r"nothing in \[losses\] needs the \[teacher\]"):
        workflow.label(recipe, data_dir=data)
    recipe.write_text(text)
    assert main(["label", str(recipe), "--model", "en-small"]) == 2
    assert "stands in the recipe" in capsys.readouterr().err
    assert main(["label", str(tmp_path / "nowhere.toml")]) == 2
    assert "nowhere.toml cannot be read" in capsys.readouterr().err
    assert main(["label", str(tmp_path)]) == 2
    assert "needs --output" in capsys.readouterr().err


class Writer:
    """What TensorBoard's writer is told."""

    made: list["Writer"] = []  # noqa: RUF012

    def __init__(self, log_dir, purge_step):
        self.log_dir, self.purge_step, self.scalars = log_dir, purge_step, []
        self.made.append(self)

    def add_scalar(self, key, value, step):
        self.scalars.append((key, value, step))

    def flush(self):
        pass


def test_tensorboard(tone_recipe, tone_data, tmp_path, monkeypatch):
    tone_recipe.write_text("tensorboard = true\n" + tone_recipe.read_text().replace("steps = 8", "steps = 4"))
    places = {"data_dir": tone_data, "cache_dir": tmp_path / "cache", "run_dir": tmp_path / "run", "num_threads": 1}
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(MissingDependencyError, match="pip install tensorboard"):
        workflow.train(tone_recipe, **places)
    assert not (tmp_path / "cache").exists()  # it complains before anything else is done
    fake = types.ModuleType("torch.utils.tensorboard")
    fake.SummaryWriter = Writer
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", fake)
    workflow.train(tone_recipe, **places)
    tone_recipe.write_text(tone_recipe.read_text().replace("steps = 4", "steps = 5"))
    workflow.train(tone_recipe, **places)
    first, second = Writer.made
    assert first.log_dir == str(tmp_path / "run" / TENSORBOARD)
    assert (first.purge_step, second.purge_step) == (1, 5)
    assert {step for key, _, step in first.scalars if key == "loss"} == {1, 2, 3, 4}
    assert ("cer/tones.train", 4) in {(key, step) for key, _, step in first.scalars}


def test_the_bar_of_training_is_for_terminals(monkeypatch, capsys):
    report = StepReport(step=30, steps=120, first_step=20, loss=1.2345, heard_s=900.0, wall_s=60.0)
    monkeypatch.setattr("edgeasr.cli.progress.PATIENCE_S", 0.0)
    ProgressBar("mine").step(report)
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    bar = ProgressBar("mine")
    bar.step(report)
    line = "mine [======                  ]  25% step 30 of 120, loss 1.234, 15 x real time, 0:09:00 left"
    shown = capsys.readouterr().err
    assert shown.endswith(line)
    LogAbove(bar).emit(logging.makeLogRecord({"msg": "step 30: loss 1.2"}))
    assert capsys.readouterr().err == "\r\x1b[Kstep 30: loss 1.2\n"  # where the bar was
