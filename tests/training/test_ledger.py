"""Who is asked what, when engines and drivers die at random."""

from collections import Counter, deque

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlpeft.training.ledger import Ask, Ledger

PROMPTS = 3


def ledger(steps=6, lag=0, learned=0):
    return Ledger(steps=steps, lag=lag, prompts_per_step=PROMPTS, learned=learned)


@pytest.mark.parametrize(
    ("lag", "versions"),
    [(0, [0, 1, 2, 3, 4, 5]), (1, [0, 0, 1, 2, 3, 4]), (2, [0, 0, 0, 1, 2, 3])],
)
def test_each_step_has_its_version_and_its_problems(lag, versions):
    book, asked = ledger(lag=lag), []
    for step in range(1, 7):
        asked += book.due()
        book.learn(step)
    assert asked == [Ask(step, (step - 1) * PROMPTS, v) for step, v in enumerate(versions, 1)]


def test_without_a_lag_one_step_is_asked_at_a_time():
    book = ledger()
    assert [ask.step for ask in book.due()] == [1]
    assert book.due() == []
    book.learn(1)
    assert [ask.step for ask in book.due()] == [2]


def test_whoever_goes_on_asks_what_was_outstanding_under_the_versions_that_are_kept():
    book = ledger(lag=2, learned=3)
    assert [(ask.step, ask.version) for ask in book.due()] == [(4, 1), (5, 2), (6, 3)]
    assert [*book.versions] == [1, 2, 3]


def test_a_step_that_was_not_asked_cannot_be_learned():
    with pytest.raises(AssertionError, match="out of turn"):
        ledger().learn(1)


class Simulation:
    """A run whose engines end groups one by one, in any order, and may die with their calls.

    Attributes:
        trained: version of each step's groups, and the learner's own, by step and position; only
            those of steps whose checkpoint was written.
    """

    def __init__(self, draw, *, steps, lag, num_engines):
        self.draw, self.steps, self.lag, self.num_engines = draw, steps, lag, num_engines
        self.checkpoint, self.trained = 0, {}
        self.deaths = 12

    def run(self):
        while self.checkpoint < self.steps:
            self.live()

    def live(self):
        """The life of one driver, from its checkpoint to its death or to the end."""
        book = ledger(self.steps, self.lag, learned=self.checkpoint)
        queue, busy, open_steps = deque(), {}, {}
        while book.learned < self.steps:
            for ask in book.due():
                assert ask.version in book.versions
                assert ask.step <= self.steps
                open_steps[ask.step] = ask, {}
                places = [*range(PROMPTS)]
                cut = self.draw(st.integers(1, PROMPTS))
                queue.extend((ask, part) for part in (places[:cut], places[cut:]) if part)
            assert 1 <= len(open_steps) <= 1 + self.lag
            step = book.learned + 1
            ask, groups = open_steps[step]
            if len(groups) == PROMPTS:
                if self.dies():  # before its checkpoint is written: the step is done again
                    return
                self.learn(book, *open_steps.pop(step))
            else:
                self.advance(queue, busy, open_steps)
            if self.dies():
                return

    def dies(self):
        self.deaths -= 1
        return self.deaths >= 0 and self.draw(st.integers(0, 5)) == 0

    def learn(self, book, ask, groups):
        book.learn(ask.step)
        for position, version in groups.items():
            key = ask.cursor + position
            assert key not in self.trained
            self.trained[key] = (ask.step, version)
        self.checkpoint = book.learned

    def advance(self, queue, busy, open_steps):
        """One engine takes a call, ends a group of it, or dies with it."""
        engine = self.draw(st.integers(0, self.num_engines - 1))
        if engine not in busy:
            if queue:
                busy[engine] = queue.popleft()
            return
        ask, part = busy[engine]
        if self.dies():
            queue.append(busy.pop(engine))  # whole: what has come of it is kept
            return
        groups = open_steps[ask.step][1]
        missing = [place for place in part if place not in groups]
        groups[self.draw(st.sampled_from(missing))] = ask.version
        if len(missing) == 1:
            del busy[engine]


@pytest.mark.slow
@given(st.data(), st.integers(1, 8), st.integers(0, 4), st.integers(1, 3))
def test_whatever_dies_every_group_is_trained_once_and_in_order_under_its_version(
    data, steps, lag, num_engines
):
    simulation = Simulation(data.draw, steps=steps, lag=lag, num_engines=num_engines)
    simulation.run()
    assert sorted(simulation.trained) == [*range(steps * PROMPTS)]
    counts = Counter(step for step, _ in simulation.trained.values())
    assert counts == dict.fromkeys(range(1, steps + 1), PROMPTS)
    for step, version in simulation.trained.values():
        assert version == max(0, step - 1 - lag)
        assert 0 <= step - 1 - version <= lag
    order = [step for step, _ in simulation.trained.values()]
    assert order == sorted(order)
