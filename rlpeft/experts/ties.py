"""What is said of a search whose shots told none of its mixtures from another."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any


def said_of_ties(fitness: Mapping[str, Any]) -> str:
    """What the mixture is that such a search ends with.

    Args:
        fitness: of the mixture on the shots, as a card or a summary has it.
    """
    likelihood = fitness.get("likelihood")
    is_known = isinstance(likelihood, int | float) and math.isfinite(likelihood)
    taken = (
        "Taken is the one that gives its right answers the highest probability, which is no "
        "evidence that it gives more of them."
        if is_known
        else "No answer earned anything, so the first one that was drawn is taken: mere chance."
    )
    return (
        f"Every mixture that was tried did equally well on the shots: these told nothing. {taken} "
        "What it is worth, the test alone says; equal parts of all experts may be as good."
    )
