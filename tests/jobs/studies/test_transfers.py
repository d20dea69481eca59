"""Experts on another base: who is compared, on the same problems, and what the tables say."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

from jobs.cli import app
from jobs.recipes import STUDIES, read_recipe
from jobs.studies.figures import tables
from jobs.studies.transfers import (
    Answers,
    Comparison,
    compare_transfers,
    labelled,
    move,
    on_base,
    result_of,
)
from rlpeft.errors import ConfigError, ExpertError
from rlpeft.experts.files import load_expert
from rlpeft.models.digest import model_digest
from rlpeft.models.folder import resolve_model

SMALL = (
    *("train.steps=2", "train.prompts_per_step=8", "train.group_size=4", "train.eval_every=1"),
    *("learner.lr=0.3", "task.num_validation=20", "task.num_test=12"),
)


@pytest.fixture(scope="module")
def near(tmp_path_factory):
    """The tiny base with every matrix a little heavier: another base with the same vectors."""
    folder = tmp_path_factory.mktemp("bases") / "near-by"
    shutil.copytree(resolve_model("tiny"), folder)
    weights = load_file(folder / "model.safetensors")
    heavier = {n: w * 1.0625 if "_proj" in n else w for n, w in weights.items()}
    save_file(heavier, folder / "model.safetensors", metadata={"format": "pt"})
    return str(folder)


@pytest.mark.slow
def test_a_comparison_is_written_as_a_study_and_goes_on(near, tmp_path):
    changes = [part for change in SMALL for part in ("--set", change)]
    given = ["compare", "transfer", "--to", near, "--seeds", "2", "--shuffles", "2", *changes]
    ran = CliRunner().invoke(app, [*given, "--out", str(tmp_path / "out"), "--json"])
    assert ran.exit_code == 0, ran.output
    told = json.loads((tmp_path / "out" / "study.json").read_text())
    assert [*told["arms"]] == [f"near_by, {kind}" for kind in ("shuffled", "ordered", "own")]
    assert [*told["beside"]] == ["tiny alone", "tiny, its experts", "near_by alone"]
    assert (told["problems"], told["study"]["seeds"]) == (12, [0, 1])
    assert told["alignment"]["near_by"]["found"] == pytest.approx(1.0, abs=0.02)
    shown = CliRunner().invoke(app, ["study", "show", str(tmp_path / "out")])
    assert "| near_by, ordered less near_by, shuffled |" in shown.output
    again = CliRunner().invoke(app, [*given, "--out", str(tmp_path / "out"), "--json"])
    assert again.exit_code == 0, again.output
    assert json.loads((tmp_path / "out" / "study.json").read_text()) == told


def test_each_expert_moves_as_it_is_and_by_permutations_of_its_own(
    near, make_expert, tiny_start, tmp_path
):
    this = Comparison(read_recipe("quickstart"), "tiny", {"near": near}, tmp_path, [4, 5], 2)
    ranks = {name: torch.arange(len(z)).float() for name, z in tiny_start.tensors.items()}
    base = {"adapter": {"type": "svf"}, "base_digest": model_digest(resolve_model("tiny"))}
    for seed in this.seeds:
        made = make_expert(f"seed{seed}", ranks, config=dict(tiny_start.config), **base)
        shutil.copytree(made, this.trained("tiny", seed))
    move(this, "near", near)
    name = next(iter(ranks))
    orders = [
        load_expert(folder).tensors[name].tolist()
        for seed in this.seeds
        for folder in this.of_expert("near", seed, "shuffled")
    ]
    assert len({*map(tuple, orders)}) == 4
    assert all(sorted(order) == ranks[name].tolist() for order in orders)
    [ordered] = this.of_expert("near", 5, "ordered")
    assert torch.equal(load_expert(ordered).tensors[name], ranks[name])


def test_of_several_permutations_a_problem_has_the_mean():
    one, two = ("1+1", "2", 0), ("2+2", "4", 0)
    values = {"base": {one: 1.0, two: 0.0}, "a": {one: 1.0, two: 1.0}, "b": {one: 0.0, two: 1.0}}
    found = result_of(Answers(values, True, frozenset()), ["a", "b"])
    assert found.values == {"expert": {one: 0.5, two: 1.0}, "base": values["base"]}


def test_an_arm_keeps_the_base_where_all_of_its_experts_do():
    values = {"base": {}, "a": {}, "b": {}}
    still = Answers(values, True, frozenset({"a", "b"}))
    assert result_of(still, ["a", "b"]).equals_base
    assert not result_of(Answers(values, True, frozenset({"a"})), ["a", "b"]).equals_base


def test_experts_of_a_shuffled_arm_are_as_many_as_permutations(tmp_path):
    this = Comparison(read_recipe("quickstart"), "tiny", {"near": "n"}, tmp_path, [3], 2)
    names = [path.name for path in this.of_expert("near", 3, "shuffled")]
    assert names == ["expert-on-near-shuffled0", "expert-on-near-shuffled1"]
    assert this.of_expert("near", 3, "own") == [tmp_path / "near" / "seed3" / "expert"]


def test_a_recipe_is_of_another_base_and_seed():
    found = on_base(read_recipe("quickstart"), "near", 4)
    assert (found.model.name, found.train.seed, found.task.name) == ("near", 4, "tiny/swap")


def test_bases_of_one_name_are_refused_before_any_training():
    with pytest.raises(ConfigError, match="must end in different names"):
        labelled(["tiny", "a/near", "b/near"])


def test_an_adapter_that_cannot_move_is_refused_before_any_training(near, tmp_path):
    recipe = read_recipe("quickstart", ("adapter={ type = 'lora' }",))
    with pytest.raises(ExpertError, match=r"only SVF experts can be transferred, adapter\.type"):
        compare_transfers(recipe, [near], tmp_path / "out", seeds=[0, 1], shuffles=1)
    assert not (tmp_path / "out").exists()


def test_what_was_measured_stands_in_the_page():
    recipes = STUDIES.parent
    found = json.loads((recipes / "compared" / "tiny-transfer.json").read_text())
    assert tables(found) in (recipes / "README.md").read_text()
