"""A folder of experts: those of one base are served, the others are named and left out."""

import shutil

import pytest
import torch

from jobs.adapt import expert_folders
from jobs.library import find_shelf, read_experts
from rlpeft.errors import ExpertError
from rlpeft.models.digest import model_digest
from rlpeft.models.folder import resolve_model
from rlpeft.recipe.run import RolloutConfig

TINY = model_digest(resolve_model("tiny"))
FOREIGN = {"q.svf_z": torch.ones(4)}
ROLLOUT = RolloutConfig(max_tokens=6, max_prompt_tokens=64)


@pytest.fixture
def mixed(tiny_experts, make_expert, tmp_path):
    """Two experts of `tiny`, and one of another base that sorts before them."""
    root = shutil.copytree(tiny_experts, tmp_path / "all")
    make_expert("alien", FOREIGN, folder=root / "alien", base_model="other/base")
    return root


@pytest.mark.parametrize("model", [None, "tiny"])
def test_an_expert_of_another_base_among_many_is_left_out_with_a_note(mixed, capsys, model):
    shelf = find_shelf(mixed, model=model, rollout=ROLLOUT)
    assert shelf.base.name == "tiny"
    assert set(read_experts(shelf).names) == {"base", "up", "down"}
    _, note = " ".join(capsys.readouterr().err.split()).split("note: left out")
    assert "alien" in note
    assert "other/base" in note


def test_experts_of_another_base_alone_are_refused(tmp_path, make_expert):
    make_expert("alien", FOREIGN, folder=tmp_path / "alien")
    shelf = find_shelf(tmp_path, model="tiny", rollout=ROLLOUT)
    with pytest.raises(ExpertError, match="was trained on base model sha256:bbbb"):
        read_experts(shelf)


def test_bases_with_equally_many_experts_ask_for_a_name(mixed, make_expert):
    make_expert("second", FOREIGN, folder=mixed / "second", base_model="other/base")
    with pytest.raises(ExpertError, match=r"--model must name.*2 of other/base, 2 of tiny"):
        find_shelf(mixed, model=None, rollout=ROLLOUT)


def test_a_search_leaves_out_what_it_finds_and_refuses_what_is_named(mixed, adapt_recipe, capsys):
    found = expert_folders(adapt_recipe(experts=[str(mixed)]), TINY)
    assert {folder.name for folder in found} == {"up", "down"}
    assert "alien" in capsys.readouterr().err
    named = adapt_recipe(experts=[str(mixed / "alien"), str(mixed / "up")])
    assert [folder.name for folder in expert_folders(named, TINY)] == ["alien", "up"]
