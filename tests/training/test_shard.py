"""What a part of the model needs to be one."""

import pytest

from rlpeft.adapters.policy import attach_adapter
from rlpeft.errors import ModelError
from rlpeft.recipe.run import LoraFamilyAdapter, SvfAdapter
from rlpeft.training.shard import held_bytes, shard


def test_a_decoder_whose_layers_are_not_known_is_refused(tiny_model):
    adapter = LoraFamilyAdapter(type="lora", rank=2, targets=["c_attn"])
    with pytest.raises(ModelError, match=r"needs a decoder with a list of layers, GPT2LMHeadModel"):
        shard(attach_adapter(tiny_model("gpt2"), adapter, seed=0), 2)


def test_a_frozen_basis_is_no_part_of_the_adapters_state(llama):
    from rlpeft.adapters.policy import adapter_tensors, make_shardable

    policy = attach_adapter(llama(), SvfAdapter(), seed=0)
    before, held = adapter_tensors(policy), held_bytes(policy)
    make_shardable(policy)
    make_shardable(policy)
    assert adapter_tensors(policy).keys() == before.keys()
    assert held_bytes(policy) == held
