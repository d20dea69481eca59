"""FlexAttention's forward against the padded one; its backward needs a GPU (`make gpu-check`)."""

import warnings

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from rlpeft.models.mechanisms import Mechanisms
from rlpeft.training.flex_attention import attend_blocks, block_mask
from rlpeft.training.group_attention import LayerGroups, group_attention
from rlpeft.training.group_layout import Groups

SIZES = [
    [(3, [4, 1, 2]), (1, [2]), (5, [1, 1])],
    [(150, [40, 3, 90]), (7, [130])],  # over the edges of blocks, which are of 128
]


@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize("window", [None, 1, 3, 60])
@pytest.mark.parametrize("scale", [None, 0.7])
def test_blocks_give_what_padding_gives(sizes, window, scale):
    num_tokens = sum(prompt + sum(members) for prompt, members in sizes)
    generator = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(1, heads, num_tokens, 16, generator=generator) for heads in (4, 2, 2))
    layer, groups = nn.Module(), Groups.of(sizes)
    layer.num_key_value_groups, layer.is_causal, layer.layer_idx = 2, True, 0
    asked = {"sliding_window": window, "scaling": scale}
    layers = LayerGroups(groups, Mechanisms((window,)))
    padded, _ = group_attention(layer, q, k, v, None, groups=layers, **asked)
    with warnings.catch_warnings():
        # That it should be compiled, which a CPU does not need.
        warnings.simplefilter("ignore", UserWarning)
        found = attend_blocks(q, k, v, block_mask(groups, window), scale)
    assert found.shape == padded.shape
    assert_close(found, padded, rtol=1e-5, atol=1e-6)
