"""The journal of a search: what stands in it is known for good."""

import math

import pytest

from rlpeft.errors import CheckpointError
from rlpeft.search.journal import Journal, Key, Outcome

ONE, TWO = Key("d1", "shot/1", 5), Key("d1", "shot/2", 6)


def test_what_was_added_is_known_to_the_next_process(tmp_path):
    Journal(tmp_path / "j").add({ONE: Outcome(True, -0.25)})
    Journal(tmp_path / "j").add({TWO: Outcome(None, -math.inf)})
    again = Journal(tmp_path / "j")
    assert (again[ONE], again[TWO]) == (Outcome(True, -0.25), Outcome(None, -math.inf))
    assert len(again) == 2


def test_scores_and_verdicts_stay_what_they_are(tmp_path):
    outcomes = {ONE: Outcome(1.0, -0.5), TWO: Outcome(True, -0.5)}
    Journal(tmp_path / "j").add(outcomes)
    again = Journal(tmp_path / "j")
    assert (type(again[ONE].worth), type(again[TWO].worth)) == (float, bool)


def test_half_a_line_of_a_killed_process_is_cut_off(tmp_path):
    path = tmp_path / "j"
    Journal(path).add({ONE: Outcome(True, -0.25), TWO: Outcome(False, -1.0)})
    path.write_bytes(path.read_bytes()[:-5])
    journal = Journal(path)
    assert ONE in journal
    assert TWO not in journal
    journal.add({TWO: Outcome(False, -1.0)})
    assert len(Journal(path)) == 2


def test_a_damaged_line_is_named(tmp_path):
    path = tmp_path / "j"
    path.write_text('["d1", "shot/1", 5, true, -0.5]\nnonsense\n')
    with pytest.raises(CheckpointError, match="line 2 of"):
        Journal(path)
