"""A search over three experts of three numbers, answered by a scripted engine."""

import pytest
import torch

from rewards.scorer import RewardSpec, Scorer
from rlpeft.experts.mixture import ExpertSet
from rlpeft.models.folder import resolve_model
from rlpeft.models.tokenizer import load_tokenizer
from rlpeft.recipe.adapt import AdaptRecipe
from rlpeft.rollout.fake import FakeEngine
from rlpeft.rollout.fleet import LocalFleet
from rlpeft.search.few_shot import Adaptation
from rlpeft.search.fitness import Grader
from rlpeft.search.journal import Journal
from rlpeft.tokens.requests import Prompter
from rlpeft.types import FinishReason, Problem, Sampling

A, B = "base_model.model.a.svf_z", "base_model.model.b.svf_z"
WANTED = torch.tensor([1.3, 0.8, 1.0])
"""Multipliers of matrix `a` under which the fake engine answers everything."""


@pytest.fixture
def experts(make_expert):
    """The base and two experts whose mixture 0.2, 0.5, 0.3 is `WANTED` in matrix a."""
    swap = {A: torch.tensor([1.6, 0.6, 1.0]), B: torch.tensor([2.0])}
    sort = {A: torch.tensor([1.0, 1.0, 1.0]), B: torch.tensor([0.0])}
    return ExpertSet.read([make_expert("swap", swap), make_expert("sort", sort)])


@pytest.fixture
def shots():
    return tuple(Problem(f"shot/{number}", f"{number}@=", str(number)) for number in range(6))


@pytest.fixture
def engine():
    """Answers shot n rightly if matrix a is near enough to `WANTED`: the nearer, the more."""

    def script(request, seed):
        number = int(request.id.rpartition("/")[2])
        z = made.experts[-1][request.expert].tensors[A]
        gap = float((z - WANTED).abs().max())
        text = str(number) if gap < 0.1 * (number + 1) else "?"
        return (7,), (-gap,), text, FinishReason.STOP

    made = FakeEngine(script)
    return made


@pytest.fixture
def adaptation(experts, shots, engine, tmp_path):
    """A maker of searches in a folder; sections of the recipe are given by name."""

    def make(folder=tmp_path / "search", *, fleet=None, **sections):
        search = {"population_size": 8, "iterations": 5} | sections.pop("search", {})
        recipe = AdaptRecipe(
            name="x",
            model={"name": "tiny"},
            task={"name": "tiny/mix"},
            experts=("unread",),
            search=search,
            **sections,
        )
        grader = Grader(
            fleet=fleet or LocalFleet(engine),
            scorer=Scorer([RewardSpec("exact")]),
            prompter=Prompter(load_tokenizer(resolve_model("tiny")), max_tokens=50),
            sampling=Sampling(4, temperature=0.0),
            seed=recipe.seed,
            journal=Journal(folder / "evaluations.jsonl"),
        )
        return Adaptation(recipe, folder, experts, shots, grader)

    return make
