"""A base with experts in its weights computes what they do, and is known by what it was made of."""

import pickle
import shutil

import pytest
import torch

from rlpeft.adapter_state import AdapterState
from rlpeft.adapters.policy import attach_adapter, load_tensors
from rlpeft.build import build_card, build_state
from rlpeft.errors import ExpertError
from rlpeft.experts.files import called, load_expert, save_expert
from rlpeft.experts.merged import (
    find_parents,
    keep_parents,
    model_of,
    open_base,
    read_parent,
    refuse_quantised,
)
from rlpeft.experts.start import parent_of
from rlpeft.models.base import BaseModel
from rlpeft.models.gap import largest_gap
from rlpeft.models.probe import logprobs, probe_rows
from rlpeft.recipe.run import ModelConfig

TINY = ModelConfig(name="tiny")
MERGEABLE = [
    {"type": "svf"},
    {"type": "lora", "rank": 4},
    {"type": "dora", "rank": 4},
    {"type": "ia3"},
]


@pytest.fixture
def moved(tiny, quick, tmp_path):
    """A maker of experts of the tiny base whose numbers are not those of a start."""

    def make(adapter, seed=0):
        recipe = quick(name=f"{adapter['type']}-{seed}", adapter=adapter)
        start, generator = build_state(recipe.engine, tiny), torch.Generator().manual_seed(seed)
        tensors = {
            name: tensor + 0.05 * torch.randn(tensor.shape, generator=generator)
            for name, tensor in start.tensors.items()
        }
        state = AdapterState(start.config, tensors, 1)
        card = build_card(recipe, tiny).model_copy(update={"digest": state.digest})
        save_expert(tmp_path / recipe.name, state, card)
        return load_expert(tmp_path / recipe.name), recipe

    return make


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """A cache of its own, for merged weights and factors."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.mark.parametrize("adapter", MERGEABLE, ids=lambda adapter: adapter["type"])
def test_it_computes_what_the_expert_does_on_its_base(moved, tiny, adapter):
    expert, recipe = moved(adapter)
    policy = attach_adapter(tiny.model(), recipe.adapter, seed=0).eval()
    load_tensors(policy, expert.tensors)
    base = open_base(TINY, [expert])
    probe = probe_rows(base.config)
    expected = logprobs(policy, probe)
    assert largest_gap(logprobs(base.model(), probe), expected) < 1e-4
    assert largest_gap(logprobs(tiny.model(), probe), expected) > 1e-2


@pytest.mark.slow
def test_changes_of_several_add_up(moved, tiny):
    experts = [moved(adapter)[0] for adapter in MERGEABLE[:2]]
    name = "model.layers.0.mlp.up_proj.weight"
    plain, *each, both = (
        dict(open_base(TINY, parents).tensors([name]))[name]
        for parents in ([], experts[:1], experts[1:], experts)
    )
    torch.testing.assert_close(both, plain + (each[0] - plain) + (each[1] - plain))


def test_it_is_another_base_known_by_its_parents_and_reads_the_same_prompts(moved, tiny):
    one, other = moved(MERGEABLE[1], 0)[0], moved(MERGEABLE[1], 1)[0]
    bases = [open_base(TINY, parents) for parents in ([], [one], [other], [one, other])]
    assert len({base.digest for base in bases}) == 4
    assert {base.tokenizer_digest for base in bases} == {tiny.tokenizer_digest}
    assert {base.name for base in bases} == {"tiny"}


def test_another_machine_makes_it_from_the_experts_alone(moved, cache):
    base = open_base(TINY, [moved(MERGEABLE[1])[0]])
    sent = pickle.dumps(base.elsewhere)
    shutil.rmtree(cache)
    there = pickle.loads(sent)()
    assert there == base
    assert len(sent) < 1e6
    assert there.path.is_dir()


def test_it_is_made_once(moved):
    expert = moved(MERGEABLE[1])[0]
    first = open_base(TINY, [expert]).path.stat()
    assert open_base(TINY, [expert]).path.stat() == first


def test_weights_are_kept_in_the_dtype_that_is_asked_for(moved):
    expert = moved(MERGEABLE[1])[0]
    half = open_base(ModelConfig(name="tiny", dtype="bfloat16"), [expert])
    [(_, tensor)] = half.tensors(["model.layers.0.mlp.up_proj.weight"])
    assert tensor.dtype == torch.bfloat16
    assert half.digest == open_base(TINY, [expert]).digest


def test_an_expert_whose_update_depends_on_the_token_is_refused(quick, tiny, tmp_path):
    recipe = quick(adapter={"type": "hyplora", "rank": 4})
    state = build_state(recipe.engine, tiny)
    card = build_card(recipe, tiny).model_copy(update={"digest": state.digest})
    save_expert(tmp_path / "expert", state, card)
    with pytest.raises(ExpertError, match=r"model\.merge must list experts of SVF, LoRA"):
        read_parent(tmp_path / "expert", tiny)


def test_an_expert_of_another_base_is_refused(moved, tiny, tmp_path):
    expert = moved(MERGEABLE[1])[0]
    merged = open_base(TINY, [expert])
    with pytest.raises(ExpertError, match="was trained on base model"):
        read_parent(tmp_path / expert.card.name, merged)


def test_parents_are_found_in_the_folder_of_the_run_and_said_where_they_are_not(moved, tmp_path):
    parent, recipe = moved(MERGEABLE[1])
    run = tmp_path / "run"
    keep_parents(run, [parent])
    base = open_base(TINY, [parent])
    card = build_card(recipe, base).model_copy(update={"merged": (parent_of(parent, "here"),)})
    for folder in (run / "expert", run / "steps" / "step_1"):
        [found] = find_parents(folder, card)
        assert open_base(TINY, [found]) == base
    with pytest.raises(ExpertError, match=r"stands on tiny with 'lora-0' \(sha256:"):
        find_parents(tmp_path / "elsewhere" / "expert", card)


def test_a_base_without_parents_is_the_base(tiny):
    assert open_base(TINY) == BaseModel.open("tiny") == tiny


def of_int8(card):
    return card.model_copy(update={"quantisation": "int8"})


def test_the_base_of_an_expert_is_quantised_as_it_was(quick, tiny):
    card = of_int8(build_card(quick(), tiny))
    assert model_of(card, "other") == ModelConfig(name="other", quantisation="int8")
    assert called(card) == "tiny in int8"


def test_a_card_that_names_a_quantisation_nobody_knows_is_refused(quick, tiny):
    card = build_card(quick(), tiny).model_copy(update={"quantisation": "int3"})
    with pytest.raises(ExpertError, match=r"that there is \(int8, nf4\), got 'int3'"):
        model_of(card)


def test_what_needs_a_base_of_floats_is_refused(quick, tiny, tmp_path):
    card = build_card(quick(), tiny)
    refuse_quantised(tmp_path, card, "merged")
    with pytest.raises(ExpertError, match=r"cannot be merged.*tiny in int8.*--format peft"):
        refuse_quantised(tmp_path, of_int8(card), "merged")
