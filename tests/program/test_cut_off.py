"""Completions that are cut off: told once, and counted."""

from types import SimpleNamespace

import pytest

from rlpeft.program.cut_off import cut_off_told


@pytest.mark.parametrize(
    ("shares", "told"),
    [
        ([0.4, 0.5], []),
        ([0.4, 0.6], ["of step 2 were cut off at rollout.max_tokens = 8"]),
        ([1.0, 0.9, 0.1], ["of step 1 were cut off", "in 2 of 3 steps more than half"]),
        ([None, 1.0, 1.0], ["of step 2 were cut off", "in 2 of 2 steps more than half"]),
    ],
)
def test_completions_that_are_cut_off_are_told_once_and_counted_at_the_end(shares, told, capsys):
    seen = []
    with cut_off_told(
        lambda progress, _: seen.append(progress.step), {"rollout.max_tokens": 8}
    ) as on_step:
        for step, share in enumerate(shares, 1):
            generated = {} if share is None else {"completions/clipped_ratio": share}
            on_step(SimpleNamespace(step=step), generated)
    notes = " ".join(capsys.readouterr().err.split()).split("note: ")[1:]
    assert len(notes) == len(told)
    assert all(part in note for part, note in zip(told, notes, strict=True))
    assert seen == [*range(1, len(shares) + 1)]


def test_the_limit_of_a_turn_is_named_too(capsys):
    with cut_off_told(
        lambda *_: None, {"environment.max_turn_tokens": 8, "rollout.max_tokens": 60}
    ) as on_step:
        on_step(SimpleNamespace(step=1), {"completions/clipped_ratio": 1.0})
    said = " ".join(capsys.readouterr().err.split())
    assert "at environment.max_turn_tokens = 8, at rollout.max_tokens = 60 or at" in said
    assert "Raise environment.max_turn_tokens or rollout.max_tokens" in said


def test_conversations_that_their_environment_does_not_end_are_told(capsys):
    with cut_off_told(
        lambda *_: None, {"environment.max_turns": 4, "rollout.max_tokens": 60}
    ) as on_step:
        for step in (1, 2):
            on_step(
                SimpleNamespace(step=step),
                {"completions/clipped_ratio": 0.1, "environment/unfinished": 1.0},
            )
    said = " ".join(capsys.readouterr().err.split())
    assert said.count("conversations of step 1 were ended by environment.max_turns = 4") == 1
    assert "in 2 of 2 steps more than half of the conversations were ended by" in said
