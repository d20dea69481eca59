import itertools
import sys
import time
from contextlib import contextmanager

import pytest

from rewards.dialects import Rollouts
from rewards.scorer import RewardSpec, Scorer

_numbers = itertools.count()


@pytest.fixture(scope="session")
def ends():
    """A block that must not explode: it fails after a minute of processor time.

    What it guards takes a second or two on a busy machine, and hours where a search explodes. How
    long it takes is measured by `rlpeft bench rewards`, never by a test.
    """

    @contextmanager
    def guard():
        start = time.process_time()
        yield
        assert time.process_time() - start < 60.0

    return guard


@pytest.fixture
def module(tmp_path, monkeypatch):
    """A maker of importable modules: source in, module name out."""
    monkeypatch.syspath_prepend(str(tmp_path))
    made = []

    def make(source):
        name = f"plugin_under_test_{next(_numbers)}"
        (tmp_path / f"{name}.py").write_text(source)
        made.append(name)
        return name

    yield make
    for name in made:
        sys.modules.pop(name, None)


@pytest.fixture
def score():
    """Score completions with rewards given as specs or names; batch in, `ScoredBatch` out."""
    scorers = []

    def run(rewards, completions, *, error_limit=0.1, step=7, **changes):
        specs = [RewardSpec(r) if isinstance(r, str) else r for r in rewards]
        scorer = Scorer(specs, error_limit=error_limit)
        scorers.append(scorer)
        batch = {
            "prompts": ["What is 3 + 4?"] * len(completions),
            "completion_ids": [list(range(len(text))) for text in completions],
            "truncated": [False] * len(completions),
            "columns": {},
        }
        return scorer.score(Rollouts(completions=completions, step=step, **(batch | changes)))

    yield run
    for scorer in scorers:
        scorer.close()
