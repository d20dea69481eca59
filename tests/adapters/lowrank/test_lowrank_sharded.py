"""What a tensor-parallel engine would compute: sums over shards, and where they have to stand.

Column-parallel layers (q, k, v, gate, up) share x and split the rows of B: with the Gram matrix of
the whole B no collective is needed. Row-parallel layers (o, down) split x and the columns of A: one
sum over shards of (z, ‖x‖², router logits) comes before the gain, the layer's own sum after it.
"""

import pytest
import torch
import torch.nn.functional as F
from peft import get_peft_model
from torch import nn

from rlpeft.adapters import HypLoraConfig, MoSLoraConfig
from rlpeft.adapters.geometry import gain
from rlpeft.adapters.hyplora import functional as hyplora
from rlpeft.adapters.lowrank.functional import gram
from rlpeft.adapters.moslora import functional as moslora

SHARDS = 4


class One(nn.Module):
    """One linear layer."""

    def __init__(self):
        super().__init__()
        self.proj = nn.Linear(64, 48, bias=False)

    def forward(self, x):
        return self.proj(x)


@pytest.fixture
def layer(request, perturb):
    config = request.param(target_modules=["proj"], r=12)
    model = perturb(get_peft_model(One(), config), std=0.3)
    return model.base_model.model.proj.eval().double().requires_grad_(False)


BOTH = pytest.mark.parametrize(
    "layer", [HypLoraConfig, MoSLoraConfig], ids=["hyplora", "moslora"], indirect=True
)
X = torch.randn(5, 64, dtype=torch.float64, generator=torch.Generator().manual_seed(2))


@BOTH
def test_column_parallel_shards_need_the_gram_matrix_of_the_whole_and_no_collective(layer):
    up = layer.up("default")
    whole = layer.update(X, "default")
    terms = layer.build_terms("default")
    bent = layer.bend(X, F.linear(X, layer.down("default")), terms, "default")[0]
    torch.testing.assert_close(torch.cat([bent @ part.T for part in up.chunk(SHARDS)], -1), whole)
    # A shard's own Gram matrix would bend by the norm of its part alone; their sum is the whole's.
    torch.testing.assert_close(sum(gram(part) for part in up.chunk(SHARDS)), gram(up))


@pytest.mark.parametrize("layer", [HypLoraConfig], ids=["hyplora"], indirect=True)
def test_row_parallel_hyplora_sums_before_the_gain_and_after_it(layer):
    terms = layer.build_terms("default")
    parts = list(zip(X.chunk(SHARDS, -1), layer.down("default").chunk(SHARDS, -1), strict=True))
    partial_z = [x @ down.T for x, down in parts]
    z, norm2 = sum(partial_z), sum(x.square().sum(-1, keepdim=True) for x, _ in parts)  # all-reduce
    image2 = hyplora.image_norm2(z, terms.gram_RR) * terms.inner2
    g = gain(norm2 * terms.inner2, image2, terms.kappa, map="ambient", max_radius=terms.max_radius)
    outputs = [(z_k * g * terms.scaling) @ layer.up("default").T for z_k in partial_z]
    torch.testing.assert_close(sum(outputs), layer.update(X, "default"))  # the layer's all-reduce


@pytest.mark.parametrize("layer", [MoSLoraConfig], ids=["moslora"], indirect=True)
def test_row_parallel_moslora_also_sums_the_router(layer):
    terms, up = layer.build_terms("default"), layer.up("default")
    weight, bias = terms.router.inner
    parts = zip(
        *(t.chunk(SHARDS, -1) for t in (X, layer.down("default"), weight)),
        strict=True,
    )
    sums = [(x @ a.T, x @ w.T, x.square().sum(-1, keepdim=True)) for x, a, w in parts]
    z, logits, norm2 = (sum(each) for each in zip(*sums, strict=True))  # one all-reduce
    shares = torch.softmax(logits * terms.inverse_scale + bias, -1)
    gains = [
        moslora.SPACES[space].gain(norm2 * terms.inverse_scale**2, part, gram_RR, kappas, terms.map)
        for space, part, gram_RR, kappas in zip(
            terms.spaces, z.chunk(3, -1), terms.grams, terms.kappas, strict=True
        )
    ]
    factors = torch.cat(gains, -1) * shares * 3 * terms.scaling
    wide = factors.repeat_interleave(z.shape[-1] // 3, -1)
    outputs = [(z_k * wide) @ up.T for z_k, _, _ in sums]
    torch.testing.assert_close(sum(outputs), layer.update(X, "default"))
    # Gains of partial sums are something else.
    alone = [layer.bend(X, z_k, terms, "default")[0] @ up.T for z_k, _, _ in sums]
    assert not torch.allclose(sum(alone), layer.update(X, "default"), rtol=1e-3)
