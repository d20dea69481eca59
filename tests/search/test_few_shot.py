"""The few-shot search: what it finds, how it is read, and that being cut off changes nothing."""

from dataclasses import asdict

import numpy as np
import pytest

from rlpeft.rollout.fleet import LocalFleet
from rlpeft.search.cem import CEM
from rlpeft.search.cma import CmaEs
from rlpeft.search.few_shot import ARMS, Arm, adapt, make_search, total_iterations
from rlpeft.search.shooting import RandomShooting


class CutOff(Exception):
    """Stands for whatever ends a search."""


def quiet(progress, row):
    """Nobody looks."""


def cut_at(step):
    def tell(progress, row):
        if progress.step == step:
            raise CutOff

    return tell


def plain(found):
    return asdict(found) | {"coefficients": found.coefficients.tolist()}


def test_it_finds_the_mixture_that_answers_every_shot(adaptation):
    this = adaptation(search={"population_size": 24, "iterations": 12})
    found = adapt(this, quiet)
    assert found.fitness.value == 1.0
    assert not found.tied
    a = found.coefficients / found.coefficients.sum()
    # Matrix a needs half of `swap`; base and `sort` are the same there.
    assert abs(a[1] - 0.5) < 0.05


@pytest.mark.parametrize("kind", ["cem", "cma", "random"])
@pytest.mark.parametrize("per", ["vector", "matrix"])
def test_a_search_that_was_cut_off_ends_as_one_that_was_not(adaptation, tmp_path, kind, per):
    search = {"type": kind, "per": per}
    whole = adapt(adaptation(tmp_path / "whole", search=search), quiet)
    for step in (1, 3):
        with pytest.raises(CutOff):
            adapt(adaptation(tmp_path / "parts", search=search), cut_at(step))
    parts = adapt(adaptation(tmp_path / "parts", search=search), quiet)
    assert plain(parts) == plain(whole)
    lines = [(tmp_path / name / "evaluations.jsonl").read_text() for name in ("parts", "whole")]
    assert lines[0] == lines[1]


def test_no_answer_is_asked_for_twice(adaptation, engine):
    with pytest.raises(CutOff):
        adapt(adaptation(), cut_at(2))
    adapt(adaptation(), quiet)
    asked = [(r.expert, r.id) for batch in engine.requests for r in batch]
    assert len(asked) == len(set(asked)) == 5 * 8 * 6


def test_an_engine_that_dies_within_an_iteration_changes_nothing(adaptation, tmp_path, engine):
    whole = adapt(adaptation(tmp_path / "whole"), quiet)

    class Mortal(LocalFleet):
        def submit(self, requests, sampling):
            answers = super().submit(requests, sampling)
            if not deaths:
                deaths.append(True)
                raise CutOff
            return answers

    deaths = []
    with pytest.raises(CutOff):
        adapt(adaptation(tmp_path / "parts", fleet=Mortal(engine)), quiet)
    assert plain(adapt(adaptation(tmp_path / "parts", fleet=Mortal(engine)), quiet)) == plain(whole)


def test_another_seed_searches_elsewhere(adaptation, tmp_path):
    one, two = (adapt(adaptation(tmp_path / str(s), seed=s), quiet) for s in (0, 1))
    assert one.coefficients.tolist() != two.coefficients.tolist()


def test_cross_validation_tries_every_arm_and_the_best_sees_all_shots(adaptation):
    stages = []
    this = adaptation(search={"iterations": 2, "folds": 3})
    found = adapt(this, lambda progress, row: stages.append(progress.stage))
    assert list(found.validated) == [str(arm) for arm in ARMS]
    best = max(found.validated.values(), key=lambda f: (f.value, f.likelihood))
    assert found.validated[str(found.arm)] == best
    assert len(stages) == total_iterations(this.recipe) == 2 * (1 + 4 * 3)
    assert stages[-1] == "all shots"


def test_a_fold_is_not_among_the_shots_its_search_saw(adaptation, engine):
    seen = []

    def tell(progress, row):
        seen.append({r.id.partition("/")[2] for r in engine.requests[-1]})

    adapt(adaptation(search={"iterations": 1, "folds": 2}), tell)
    assert seen[0] == {"shot/1", "shot/3", "shot/5"}
    assert seen[1] == {"shot/0", "shot/2", "shot/4"}


def test_where_every_expert_is_left_out_the_base_stands(experts):
    zeros = np.zeros(3)
    assert Arm("vector", True).coefficients(zeros, experts).tolist() == [1, 0, 0]
    candidate = np.array([[0.2, 0.0], [0.5, 0.0], [0.0, 0.0]]).reshape(-1)
    read = Arm("matrix", True).coefficients(candidate, experts)
    assert read.tolist() == [[0.2, 1.0], [0.5, 0.0], [0.0, 0.0]]
    assert candidate.tolist() == [0.2, 0.0, 0.5, 0.0, 0.0, 0.0]


@pytest.mark.parametrize(
    ("kind", "made"), [("cem", CEM), ("cma", CmaEs), ("random", RandomShooting)]
)
def test_each_search_goes_by_its_name_and_starts_uniform(adaptation, kind, made):
    search = make_search(adaptation(search={"type": kind, "bounds": (0, 2)}).recipe, 3, 3)
    assert type(search) is made
    assert len(search.ask()) == 8
    # pycma itself starts with at most a third of the range.
    np.testing.assert_allclose(search.std, 2 / 3 if kind == "cma" else 1.0)
    if kind == "cem":
        np.testing.assert_allclose(search.mean, 1 / 3)


def test_the_options_of_cem_reach_it(adaptation):
    options = {"elite_fraction": 0.5, "std_floor": 0.25, "unbiased_std": True}
    search = make_search(adaptation(search=options).recipe, 3, 3)
    assert (search.num_elites, search.std_floor, search.unbiased_std) == (4, 0.25, True)
