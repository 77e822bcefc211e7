"""A run that is killed at any moment, and as often as you like, leaves the same curve as one that never was."""

import random
import signal
import socket
import time

import pytest

torch = pytest.importorskip("torch")

from killed_runs import start  # noqa: E402

from edgeasr.train.run_log import CHECKPOINT, read_metrics, read_results, read_sessions  # noqa: E402

DEATHS = (
    ("within a checkpoint", 1),
    ("before a checkpoint counts", 1),
    ("within a line of metrics", 5),
    ("", 0),
    ("within a checkpoint", 1),
    ("", 0),
)


def finish(processes):
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * len(processes)


def kill(processes, delay_s):
    time.sleep(delay_s)
    for process in processes:
        process.kill()
        process.join()


def assert_same(killed, straight):
    """The same metrics, to the last bit but for the speed, the same weights and heads, the same texts of the clips."""
    lines = [
        [{key: value for key, value in line.items() if key != "speed"} for line in read_metrics(run)]
        for run in (killed, straight)
    ]
    assert lines[0] == lines[1]
    steps = [line["step"] for line in lines[0] if "loss" in line]
    assert steps == list(range(1, 9))
    states = [torch.load(run / CHECKPOINT, weights_only=True) for run in (killed, straight)]
    for part in ("student", "heads", "average"):
        assert states[0][part].keys() == states[1][part].keys()
        assert all(torch.equal(value, states[1][part][name]) for name, value in states[0][part].items())
    results = [read_results(run) for run in (killed, straight)]
    assert results[0] == results[1]
    assert results[0].whole and results[0].step == 8


@pytest.mark.parametrize("taught", [False, True])
def test_killed_again_and_again(taught, tmp_path, request):
    recipe = request.getfixturevalue("taught_recipe" if taught else "tone_recipe")
    data = request.getfixturevalue("taught_data" if taught else "tone_data")
    places = {"data_dir": data, "cache_dir": tmp_path / "cache"}
    straight, killed = {**places, "run_dir": tmp_path / "straight"}, {**places, "run_dir": tmp_path / "killed"}
    begun_s = time.monotonic()
    finish([start(recipe, straight)])
    whole_s = time.monotonic() - begun_s

    moments = random.Random(7)
    for death, count in DEATHS:
        process = start(recipe, killed, death, count)
        if death:
            process.join()
            assert process.exitcode == -signal.SIGKILL, death
        else:
            kill([process], moments.uniform(0.2, 1.0) * whole_s)
    finish([start(recipe, killed)])
    assert_same(tmp_path / "killed", tmp_path / "straight")
    sessions = read_sessions(tmp_path / "killed")
    assert len(sessions) > 2
    assert sessions[-1]["last_step"] == 8
    heard_s = sum(session["heard_s"] for session in sessions)
    assert heard_s > sum(session["heard_s"] for session in read_sessions(tmp_path / "straight"))


def test_two_processes(tone_recipe, tone_data, tmp_path):
    def both(run, death="", count=0):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = str(free.getsockname()[1])
        places = {"data_dir": tone_data, "cache_dir": tmp_path / "cache", "run_dir": tmp_path / run}
        where = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": "2"}
        return [
            start(tone_recipe, places, death if rank == 0 else "", count, RANK=str(rank), **where) for rank in (0, 1)
        ]

    finish(both("straight"))
    for death, count in (("within a checkpoint", 2), ("within a line of metrics", 4)):
        processes = both("killed", death, count)
        processes[0].join()
        assert processes[0].exitcode == -signal.SIGKILL
        kill(processes[1:], 0)
    finish(both("killed"))
    assert_same(tmp_path / "killed", tmp_path / "straight")
    # What both have heard.
    single = tmp_path / "single"
    finish([start(tone_recipe, {"data_dir": tone_data, "cache_dir": tmp_path / "cache", "run_dir": single})])
    heard_s = [read_sessions(run)[-1]["heard_s"] for run in (tmp_path / "straight", single)]
    assert heard_s[0] > 1.5 * heard_s[1]
