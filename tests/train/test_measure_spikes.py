"""How much sooner a student emits words than its teacher, on paths written by hand."""

import numpy as np
import pytest
from tool_modules import load_tool

pytest.importorskip("torch")

from edgeasr.train.teachers.teacher import Frames, Said

measure_spikes = load_tool("measure_spikes")


class Teacher:
    tokens = ("<blk>", "▁A", "B", "▁C")
    blank_id = 0
    token_frames = Frames(first_s=0.05, step_s=0.04)


def test_words_are_paired_by_their_last_tokens():
    tokens = ("<blank>", "|", "a", "b", "c")
    path = [0, 2, 2, 3, 1, 1, 4, 0, 1, 2]
    student = measure_spikes.student_words(np.eye(5)[path], tokens, 0, 0.02)
    assert student == [("ab", pytest.approx(0.07)), ("c", pytest.approx(0.13)), ("a", pytest.approx(0.19))]
    nothing = np.zeros((0, 0), np.float32)
    ids = np.array([0, 1, 2, 0, 0, 3])
    said = Said(features=nothing, log_probs=nothing, token_ids=ids, readings=(), scores=())
    teacher = measure_spikes.teacher_words(said, Teacher())
    assert teacher == [("ab", pytest.approx(0.13)), ("c", pytest.approx(0.25))]
    assert measure_spikes.differences(student, teacher, 0.04) == [pytest.approx(-1.5), pytest.approx(-3.0)]
