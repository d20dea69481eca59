"""Sums of bits show what was written, and kept terms follow writes that PyTorch does not count."""

import copy

import pytest
import torch
from peft import get_peft_model

from rlpeft.adapters import HypLoraConfig, MoSLoraConfig
from rlpeft.adapters.checksums import bit_sums

DTYPES = [torch.float64, torch.float32, torch.bfloat16, torch.float16, torch.int8]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(), (1,), (7,), (5, 9), (5, 8), (3, 5, 4)])
def test_any_single_change_shows_however_small(dtype, shape):
    generator = torch.Generator().manual_seed(0)
    tensor = (100 * torch.randn(shape, generator=generator)).to(dtype)
    before = bit_sums([tensor])
    assert torch.equal(bit_sums([tensor.clone()]), before)
    changed = tensor.clone()
    last = changed.reshape(-1)[-1:].view(torch.uint8)
    last[0] ^= 1
    assert not torch.equal(bit_sums([changed]), before)


def test_a_change_shows_in_a_part_that_starts_between_two_words():
    part = torch.arange(9.0).bfloat16()[1:]
    before = bit_sums([part])
    part.data[3] = 7.0
    assert not torch.equal(bit_sums([part]), before)


CONFIGS = {
    "rotation": lambda: HypLoraConfig(target_modules="all-linear", r=4),
    "boost": lambda: HypLoraConfig(target_modules="all-linear", r=4, variant="boost"),
    "mixture": lambda: MoSLoraConfig(target_modules="all-linear", r=16),
}
IDS = torch.randint(0, 60, (2, 6), generator=torch.Generator().manual_seed(0))


def copy_all(parameter):
    parameter.data.copy_(parameter.data.flip(0) + 0.3)


def write_one(parameter):
    parameter.data.view(-1)[-1] += 5.0


@pytest.mark.parametrize("write", [copy_all, write_one])
@pytest.mark.parametrize("autocast", [False, True])
@pytest.mark.parametrize("name", CONFIGS)
def test_kept_terms_follow_writes_to_data(name, write, autocast, llama, perturb):
    """Terms are kept in two forms, of which autocast takes the one with more operations."""
    model = perturb(get_peft_model(llama(), CONFIGS[name]())).eval()

    def logits(of):
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            return of(IDS).logits.float()

    before = logits(model)
    for layer in model.base_model.adapted_layers():
        write(layer.up("default"))
    after = logits(model)
    fresh = copy.deepcopy(model)  # copies leave kept terms behind
    assert torch.equal(after, logits(fresh))
    assert (after - before).abs().max() > 1e-2


@pytest.mark.parametrize("name", CONFIGS)
def test_generation_follows_writes_to_data_before_it(name, llama, perturb):
    model = perturb(get_peft_model(llama(), CONFIGS[name]())).eval()
    model.generate(input_ids=IDS, max_new_tokens=3, do_sample=False)
    for layer in model.base_model.adapted_layers():
        copy_all(layer.up("default"))
    scores = model.generate(
        input_ids=IDS,
        max_new_tokens=3,
        do_sample=False,
        return_dict_in_generate=True,
        output_logits=True,
    ).logits
    fresh = (
        copy.deepcopy(model)
        .generate(
            input_ids=IDS,
            max_new_tokens=3,
            do_sample=False,
            return_dict_in_generate=True,
            output_logits=True,
        )
        .logits
    )
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(scores, fresh, strict=True))
