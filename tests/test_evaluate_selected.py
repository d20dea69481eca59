"""Which figure of a validation chooses the best expert."""

import pytest

from rewards.verdict import Verdict, VerdictKind
from rlpeft.errors import ConfigError
from rlpeft.evaluate import selected
from rlpeft.experts.measures import measure_of
from rlpeft.types import Group, Problem, ScoredGroup


def validation(*answers):
    """A group each: whether it is correct (`None`: not judged), and how tidy it is."""
    groups = []
    for correct, tidy in answers:
        judged = Verdict(float(correct), VerdictKind.CORRECT if correct else VerdictKind.WRONG)
        graded = Verdict(tidy, VerdictKind.GRADED) if tidy is not None else unscored()
        whole = Verdict((judged.score or 0) + (tidy or 0), judged.kind)
        group = Group(Problem("p", "p"), (), ())
        groups.append(ScoredGroup(group, (whole,), {"exact": (judged,), "tidy": (graded,)}))
    return measure_of([group.verdicts[0] for group in groups]), groups


def unscored():
    return Verdict(None, VerdictKind.UNSCORABLE)


@pytest.mark.parametrize(
    ("select", "fraction"),
    [
        (None, (2, 3)),
        ("accuracy", (2, 3)),
        ("score", (2.75 / 3, 1)),
        ("rewards/tidy", (0.375, 1)),
        ("rewards/exact", (2 / 3, 1)),
    ],
)
def test_the_metric_that_is_named_is_compared(select, fraction):
    found, groups = validation((True, 0.5), (False, 0.25), (True, None))
    assert selected(select, found, groups) == pytest.approx(fraction)


@pytest.mark.parametrize("select", ["accuracy", "rewards/tidy"])
def test_a_figure_that_a_validation_has_not_given_stops_the_run(select):
    _, groups = validation((True, None))
    found = measure_of([Verdict(0.5, VerdictKind.GRADED)])
    with pytest.raises(ConfigError, match="must be a figure that the rewards give"):
        selected(select, found, groups)
