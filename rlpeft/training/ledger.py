"""Who is asked what, while steps are generated ahead of the learner: pure, of counts alone.

The groups of step t are sampled under version max(0, t - 1 - lag) of the adapter, always:

    step             1  2  3  4  5  6
    version, lag 0   0  1  2  3  4  5
    version, lag 2   0  0  0  1  2  3

So nothing that is in flight need be kept: whoever goes on after any end asks the same steps again,
under the same versions. No step is asked before its version exists, none is ever thrown away.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Ask:
    """A step that may be asked.

    Attributes:
        cursor: problems that the steps before it drew.
        version: of the adapter that all of it is sampled under.
    """

    step: int
    cursor: int
    version: int


class Ledger:
    """What has been asked and learned of a run.

    Attributes:
        learned: steps that the learner has taken; all that a checkpoint has to keep.

    Args:
        steps: of the whole run; none beyond is asked.
        lag: how many versions behind the learner groups may be.
        prompts_per_step: problems of a step.
    """

    def __init__(self, *, steps: int, lag: int, prompts_per_step: int, learned: int = 0) -> None:
        self.steps, self.lag, self.prompts_per_step = steps, lag, prompts_per_step
        self.learned = self._asked = learned

    def due(self) -> list[Ask]:
        """The steps that may be asked from now on, and were not; each is told of once."""
        first, self._asked = self._asked + 1, min(self.steps, self.learned + 1 + self.lag)
        return [self._ask(step) for step in range(first, self._asked + 1)]

    def learn(self, step: int) -> None:
        """Take down that a step was learned from: the next one, which was asked."""
        assert self.learned < step == self.learned + 1 <= self._asked, f"step {step} out of turn"
        self.learned = step

    @property
    def versions(self) -> range:
        """The versions that steps to come are sampled under, up to the learner's own."""
        return range(max(0, self.learned - self.lag), self.learned + 1)

    def _ask(self, step: int) -> Ask:
        return Ask(step, (step - 1) * self.prompts_per_step, max(0, step - 1 - self.lag))
