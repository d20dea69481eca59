"""Mixing experts: multipliers, the base among them, and nothing that is no model."""

import json

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.testing import assert_close

from rlpeft.adapters.svf.factors import factorise
from rlpeft.errors import ExpertError
from rlpeft.experts.files import load_expert
from rlpeft.experts.mixture import ExpertSet

Q, K = (f"base_model.model.layers.0.{name}.svf_z" for name in ("q_proj", "k_proj"))
SWAP = {Q: torch.tensor([1.1, 0.9, 1.0]), K: torch.tensor([0.5, 1.5])}
SORT = {Q: torch.tensor([0.7, 1.0, 1.2]), K: torch.tensor([2.0, 0.3])}


@pytest.fixture
def experts(make_expert):
    return ExpertSet.read([make_expert("swap", SWAP), make_expert("sort", SORT)])


def test_the_base_comes_first_and_is_all_ones(experts):
    assert experts.names == ("base", "swap", "sort")
    assert all(bool((z == 1).all()) for z in experts.state("base").tensors.values())


def test_a_mix_is_the_sum_worked_by_hand(experts):
    mixed = experts.mix([0.5, 0.25, 0.25], normalise=True).tensors
    assert_close(mixed[Q], torch.tensor([0.95, 0.975, 1.05]))
    assert_close(mixed[K], torch.tensor([1.125, 0.95]))


def test_free_coefficients_are_not_divided_by_their_sum(experts):
    mixed = experts.mix([0.0, 1.0, 1.0], normalise=False).tensors
    assert_close(mixed[K], torch.tensor([2.5, 1.8]))


def test_every_matrix_may_have_its_own_coefficients(experts):
    # Modules in name order: k_proj, then q_proj.
    assert [name.rpartition(".")[2] for name in experts.matrices] == ["k_proj", "q_proj"]
    mixed = experts.mix([[0, 1], [1, 0], [0, 0]], normalise=True).tensors
    assert_close(mixed[K], SWAP[K], rtol=0, atol=0)
    assert_close(mixed[Q], torch.ones(3), rtol=0, atol=0)


@pytest.mark.slow
@given(
    values=st.lists(st.floats(-3, 3, width=32), min_size=3, max_size=3),
    scale=st.floats(0.01, 100),
)
def test_one_hot_coefficients_give_that_expert_bit_for_bit(make_expert, values, scale):
    tensors = {Q: torch.tensor(values) + 0.0, K: torch.tensor([0.5, 1.5])}  # no -0.0
    experts = ExpertSet.read([make_expert("swap", SWAP), make_expert("odd", tensors)])
    for weights, normalise in (([0, 0, 1.0], False), ([0, 0, scale], True)):
        state = experts.mix(weights, normalise=normalise)
        assert all(torch.equal(state.tensors[name], value) for name, value in tensors.items())
    assert experts.state("odd").digest == experts.mix([0, 0, 1], normalise=True).digest


@pytest.mark.parametrize(
    "given", [[1, -1, 0], [0, 0, 0], [float("nan"), 1, 1], [float("inf"), 1, 1]]
)
def test_coefficients_that_leave_no_model_are_refused(experts, given):
    with pytest.raises(ExpertError, match="must not sum to zero"):
        experts.mix(given, normalise=True)


def test_one_matrix_without_a_model_is_enough_to_refuse(experts):
    with pytest.raises(ExpertError, match="must not sum to zero"):
        experts.mix([[1, 0], [0, 1], [0, -1]], normalise=False)


@pytest.mark.parametrize("given", [[1, 1], [[1, 1, 1]] * 3, 1.0])
def test_coefficients_of_another_shape_are_refused(experts, given):
    with pytest.raises(ExpertError, match=r"must be \[3\] for base, swap, sort, or \[3, 2\]"):
        experts.mix(given, normalise=True)


def test_logits_are_mixed_as_the_multipliers_they_mean(make_expert):
    """sigmoid_renorm: m = sigmoid(p), times the sum of singular values over that of s m."""
    weight = torch.tensor([[3.0, 0.0], [4.0, 5.0]])  # singular values 3 sqrt 5 and sqrt 5
    factors = factorise(weight, "gram")
    config = {"peft_type": "SVF", "parametrisation": "sigmoid_renorm", "decomposition": "gram"}
    name = "base_model.model.q.svf_z"
    one, two = ({name: torch.tensor(p)} for p in ([0.0, 0.0], [0.0, -200.0]))
    folders = [make_expert(n, z, config=config) for n, z in (("one", one), ("two", two))]
    experts = ExpertSet.read(folders, factors={"q": factors.digest})
    assert_close(experts.state("one").tensors[name], torch.ones(2))
    # p = (0, -200): m = (1/2, 0), c = (3 + 1) / (3 / 2), so the multipliers are (4/3, 0).
    assert_close(experts.state("two").tensors[name], torch.tensor([4 / 3, 0.0]))
    mixed = experts.mix([0, 0.5, 0.5], normalise=True)
    assert_close(mixed.tensors[name], torch.tensor([7 / 6, 0.5]))
    assert mixed.config["parametrisation"] == "direct"


def test_experts_on_two_decompositions_are_told_with_both(make_expert):
    named = {"peft_type": "SVF", "parametrisation": "direct", "decomposition": "gram"}
    folders = [make_expert("old", SWAP), make_expert("new", SORT, config=named)]
    with pytest.raises(ExpertError, match=r"same decomposition: 'old' has svd, 'new' has gram"):
        ExpertSet.read(folders)


def test_logits_without_their_factors_are_refused(make_expert):
    config = {"peft_type": "SVF", "parametrisation": "sigmoid_renorm"}
    folder = make_expert("one", {Q: torch.zeros(3)}, config=config)
    with pytest.raises(ExpertError, match=r"needs the cached factors of 'layers\.0\.q_proj'"):
        ExpertSet.read([folder])


def test_experts_of_different_bases_are_told_with_both(make_expert):
    folders = [make_expert("swap", SWAP), make_expert("sort", SORT, base_digest="c" * 64)]
    with pytest.raises(
        ExpertError, match=r"same base model: 'swap' has sha256:bbb.*'sort' has .*ccc"
    ):
        ExpertSet.read(folders)


def test_experts_of_different_modules_are_told_with_the_first_odd_one(make_expert):
    folders = [make_expert("swap", SWAP), make_expert("sort", {Q: SORT[Q]})]
    with pytest.raises(ExpertError, match=r"same modules: .*k_proj \(2,\).*k_proj not"):
        ExpertSet.read(folders)


def test_experts_of_different_parametrisations_are_refused(make_expert):
    config = {"peft_type": "SVF", "parametrisation": "sigmoid_renorm"}
    folders = [make_expert("swap", SWAP), make_expert("sort", SORT, config=config)]
    with pytest.raises(ExpertError, match="same parametrisation: 'swap' has direct"):
        ExpertSet.read(folders)


def test_an_adapter_that_is_no_list_of_multipliers_is_refused(make_expert):
    with pytest.raises(ExpertError, match="only SVF experts can be mixed, 'lora' is LORA"):
        ExpertSet.read([make_expert("lora", SWAP, config={"peft_type": "LORA"})])


def test_two_experts_of_one_name_and_none_at_all_are_refused(make_expert):
    with pytest.raises(ExpertError, match="two are called 'swap'"):
        ExpertSet.read([make_expert("swap", SWAP), make_expert("swap", SORT)])
    with pytest.raises(ExpertError, match="at least one expert"):
        ExpertSet.read([])
    with pytest.raises(ExpertError, match="names the base model"):
        ExpertSet.read([make_expert("base", SWAP)])


def test_an_unknown_name_is_told_with_the_known_ones(experts):
    with pytest.raises(ExpertError, match="one of base, swap, sort, got 'copy'"):
        experts.state("copy")


def test_a_saved_mixture_is_an_ordinary_expert_that_names_its_parents(experts, tmp_path):
    card = {"name": "both", "task": {"name": "tiny/mix"}, "rewards": ("exact",), "seed": 3}
    history = {"history": [{"best": 0.5}]}
    experts.save(tmp_path / "m", [0, 1, 1], normalise=True, card=card, search=history)
    found = load_expert(tmp_path / "m", base_digest="b" * 64)
    assert found.card.digest == experts.mix(np.array([0, 1, 1]), normalise=True).digest
    mixture = found.card.mixture
    assert list(mixture.parents) == ["base", "swap", "sort"]
    assert mixture.coefficients == (0.0, 1.0, 1.0)
    assert mixture.search == history
    assert json.loads((tmp_path / "m" / "card.json").read_text())["mixture"]["normalise"] is True


def test_a_mixture_stands_on_a_base_that_is_quantised_as_that_of_its_parents(make_expert, tmp_path):
    parents = {"swap": SWAP, "sort": SORT}
    folders = [make_expert(name, z, quantisation="int8") for name, z in parents.items()]
    card = {"name": "both", "task": {"name": "tiny/mix"}, "rewards": ("exact",), "seed": 3}
    ExpertSet.read(folders).save(tmp_path / "m", [0, 1, 1], normalise=True, card=card)
    assert load_expert(tmp_path / "m").card.quantisation == "int8"
