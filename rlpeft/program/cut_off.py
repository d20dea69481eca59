"""Completions that a limit cuts off teach little: told once a run, and counted at its end."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from rlpeft.runs.signal import HAVE_IT_END, MAX_TURNS, limits_met
from rlpeft.terminal import note
from rlpeft.training.loop import OnStep, Progress

MOST_CUT_OFF = 0.5
"""Share of the completions of a step above which it is told."""


@contextmanager
def cut_off_told(on_step: OnStep, limits: Mapping[str, int]) -> Iterator[OnStep]:
    """What is told after each step, which looks at that first.

    Args:
        limits: of an answer, and of a conversation, by their keys in the recipe.
    """
    given = {key: most for key, most in limits.items() if key != MAX_TURNS}
    at = ", at ".join(f"{key} = {most}" for key, most in given.items())
    turns = {key: most for key, most in limits.items() if key == MAX_TURNS}
    of_steps: list[bool] = []
    unending: list[bool] = []

    def told(progress: Progress, metrics: Mapping[str, float]) -> None:
        share = metrics.get("completions/clipped_ratio")
        is_cut = share is not None and share > MOST_CUT_OFF
        if is_cut and not any(of_steps):
            note(
                f"more than half of the completions of step {progress.step} were cut off at "
                f"{at} or at the model's context: they earn no "
                f"reward and teach the policy little. Raise {' or '.join(given)}; `rlpeft doctor` "
                "shows how long completions are."
            )
        is_unending = not is_cut and bool(met := limits_met(metrics, turns))
        if is_unending and not any(unending):
            note(
                f"more than half of the conversations of step {progress.step} were ended by {met} "
                f"and not by the environment. Raise it, or {HAVE_IT_END}."
            )
        if share is not None:  # a validation before the first step is none
            of_steps.append(is_cut)
            unending.append(is_unending)
        on_step(progress, metrics)

    yield told
    if (cut := sum(of_steps)) > 1:
        note(f"in {cut} of {len(of_steps)} steps more than half of the completions were cut off.")
    if (ended := sum(unending)) > 1:
        note(
            f"in {ended} of {len(unending)} steps more than half of the conversations were ended "
            f"by {MAX_TURNS} = {limits[MAX_TURNS]}."
        )
