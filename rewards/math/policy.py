"""Where graders legitimately differ, each difference is one switch here.

`STRICT` is for training: nothing counts that a careful person would not mark right.
`LENIENT` is for evaluation: what several published graders accept counts too. A rising gap
between the two on one run is a sign of reward hacking.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields

from rewards.errors import RewardError


@dataclass(frozen=True, slots=True)
class MathPolicy:
    """Switches of the math verifier. The defaults are the strict policy.

    >>> MathPolicy(unreduced_fractions=True).tolerance
    0.0
    """

    unreduced_fractions: bool = False
    """2/4 matches 1/2."""
    unevaluated_arithmetic: bool = False
    """17*23 matches 391."""
    rounded_decimals: bool = False
    """0.333 matches 1/3: a decimal of three or more significant digits, correctly rounded."""
    percent_as_number: bool = False
    """50 matches 50%, beside 0.5, which always does."""
    decimal_comma: bool = False
    """3,5 matches 3.5."""
    list_as_tuple: bool = False
    """1,3 matches (1,3) and x=1,y=3, and a column vector matches its tuple."""
    base_optional: bool = False
    """204 matches 204_5."""
    right_side: bool = False
    """2x+1 matches y=2x+1."""
    degrees_as_radians: bool = False
    """pi/3 matches 60 degrees."""
    ratio_as_fraction: bool = False
    """3/2 and 1.5 match 3:2."""
    convert_units: bool = False
    """1.2 km matches 1200 m."""
    symbolic: bool = False
    """Sums, products, integrals, limits and derivatives are evaluated by sympy in a worker."""
    tolerance: float = 0.0
    """Largest relative difference between two constants that still counts as equal."""
    max_distinct_boxes: int = 6
    """A completion that boxes more different values than this has no final answer."""

    def __post_init__(self) -> None:
        if not 0.0 <= self.tolerance < 1.0:
            raise RewardError(f"tolerance must be in [0, 1), got {self.tolerance!r}.")
        if self.max_distinct_boxes < 1:
            raise RewardError(
                f"max_distinct_boxes must be at least 1, got {self.max_distinct_boxes!r}."
            )


STRICT = MathPolicy()
LENIENT = MathPolicy(
    unreduced_fractions=True,
    unevaluated_arithmetic=True,
    rounded_decimals=True,
    percent_as_number=True,
    decimal_comma=True,
    list_as_tuple=True,
    base_optional=True,
    right_side=True,
    degrees_as_radians=True,
    ratio_as_fraction=True,
    convert_units=True,
    symbolic=True,
    max_distinct_boxes=64,
)

_PRESETS = {"strict": STRICT, "lenient": LENIENT}


Policy = str | MathPolicy | Mapping[str, object]
"""As options have it; see `as_policy`."""


def as_policy(policy: Policy) -> MathPolicy:
    """Read a policy: a preset's name, a `MathPolicy`, or switches on top of strict.

    Raises:
        RewardError: no such preset or switch.
    """
    if isinstance(policy, MathPolicy):
        return policy
    if isinstance(policy, str):
        if policy in _PRESETS:
            return _PRESETS[policy]
        raise RewardError(f"policy must be 'strict' or 'lenient', got {policy!r}.")
    names = {field.name for field in fields(MathPolicy)}
    unknown = sorted(set(policy) - names)
    if unknown:
        raise RewardError(
            f"policy has no switch {unknown[0]!r}. Known: {', '.join(sorted(names))}."
        )
    return MathPolicy(**policy)  # type: ignore[arg-type]
