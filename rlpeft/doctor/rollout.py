"""What a short rollout shows: delivery, lengths, signal, gradient."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rlpeft.doctor.row import Check, fail, ok, spread, warn
from rlpeft.recipe.run import Recipe
from rlpeft.rollout.proof import SyncReport
from rlpeft.runs.signal import why_alike
from rlpeft.training.collect import Evidence, rollout_metrics
from rlpeft.types import Completion

COMMON_CUT, HOPELESS_CUT = 0.1, 0.9
"""Shares of completions cut off above which to warn and to fail."""

LARGE_GAP = 0.1
"""Log-prob difference between engine and trainer above which the ratio needs its cap."""


def check_sync(report: SyncReport) -> Check:
    """One proven weight sync."""
    return ok(
        "engine and weight sync",
        f"delivery proven: canary gap {report.gap:.2g}, {report.num_bytes:,} bytes in "
        f"{1e3 * report.load_s:.1f} ms",
    )


def check_completions(recipe: Recipe, seen: Evidence) -> Check:
    """Completion lengths against the limit, on real completions."""
    every = [c for scored in seen.scored.groups for c in scored.group.completions]
    cut = sum(c.truncated for c in every) / len(every)
    lengths = [len(c.token_ids) for c in every]
    of_turn = recipe.environment and recipe.environment.max_turn_tokens
    limit = f"limit {recipe.rollout.max_tokens}" + (f", {of_turn} a turn" if of_turn else "")
    found = f"{spread(lengths)} tokens; {limit}, {cut:.0%} cut off"
    advice = (
        f"Raise {_cut_by(recipe, every)}, or check that the model's end-of-sequence tokens are "
        "known."
    )
    if cut > HOPELESS_CUT:
        return fail("completion lengths", found, advice)
    if cut > COMMON_CUT:
        return warn("completion lengths", found, advice)
    return ok("completion lengths", found)


def _cut_by(recipe: Recipe, completions: Sequence[Completion]) -> str:
    """The key, or the two, of the limits at which completions were cut off."""
    of_turn = recipe.environment and recipe.environment.max_turn_tokens
    at_turn = {len(c.answer_ids) == of_turn for c in completions if c.truncated}
    keys = {True: "environment.max_turn_tokens", False: "rollout.max_tokens"}
    return " and ".join(key for by_turn, key in keys.items() if by_turn in at_turn)


def check_signal(recipe: Recipe, seen: Evidence) -> Check:
    """Whether there is anything to learn from."""
    metrics = rollout_metrics(seen, 0)
    every = [c for scored in seen.scored.groups for c in scored.group.completions]
    found = (
        f"mean reward {metrics['reward']:.2f}; {metrics['frac_reward_zero_std']:.0%} of groups "
        "have all rewards equal"
    )
    if metrics["frac_reward_zero_std"] < 1:
        return ok("reward signal", found)
    return warn("reward signal", found, why_alike(metrics, _cut_by(recipe, every)))


def check_gradient(metrics: Mapping[str, float]) -> Check:
    """One backward pass, and the importance ratio between trainer and engine."""
    if "sampling/sampling_logp_difference/max" not in metrics:
        return warn("gradient", "no completion carried loss", "See the rows above.")
    gap = metrics["sampling/sampling_logp_difference/max"]
    found = f"loss {metrics['loss']:.3g}; log-probs of engine and trainer differ by {gap:.2g}"
    if gap < LARGE_GAP:
        return ok("gradient and importance ratio", found)
    advice = "Set rollout.dtype to model.dtype, or keep loss.ratio_cap."
    return warn("gradient and importance ratio", found, advice)
