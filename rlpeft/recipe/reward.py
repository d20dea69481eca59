"""One `[[reward]]` of a recipe; the string under each field is its documentation."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from rlpeft.recipe.adapter import Section


class RewardConfig(Section):
    """One reward; a recipe may list several (`[[reward]]`)."""

    name: str = "math"
    """A built-in verifier, a TRL reward name, an entry point, or `package.module:function`."""
    weight: float = 1.0
    """Weight in the sum of rewards."""
    correct_at: Annotated[float, Field(allow_inf_nan=False)] | None = None
    """Score from which an answer counts as correct, for a reward that gives numbers; absent: only
    its own verdicts (`True`, `False`) count, and without them the mean score chooses the expert."""
    options: dict[str, Any] = {}
    """Passed to the verifier. `gold` names the column of the gold answer; `several = true` has a
    verifier read a list there as several right answers."""
    timeout_s: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 60.0
    """Seconds a reward of your own may take for one batch, a whole validation included."""
    warmup_timeout_s: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 300.0
    """Seconds that importing its module may take, with the models that it loads."""
