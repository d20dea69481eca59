"""The cache of factors: one file for each weight and each way to decompose it."""

import pytest
import torch

from rlpeft.adapters.svf.factors import factorise, load_factors, warm_cache, weight_digest
from rlpeft.errors import ModelError

WEIGHT = torch.randn(6, 9, generator=torch.Generator().manual_seed(1))


def test_two_decompositions_of_one_weight_never_meet(tmp_path):
    new = factorise(WEIGHT, "gram", cache=tmp_path)
    assert load_factors(weight_digest(WEIGHT, "svd"), cache=tmp_path) is None
    old = factorise(WEIGHT, "svd", cache=tmp_path)
    assert old.digest != new.digest
    for made, how in ((new, "gram"), (old, "svd")):
        found = factorise(WEIGHT, how, cache=tmp_path)
        assert torch.equal(found.basis, made.basis)
        assert found.digest == made.digest == weight_digest(WEIGHT, how)


def test_factors_by_svd_are_found_where_they_have_always_been():
    """The key of caches, experts and runs from before there was another decomposition."""
    assert weight_digest(torch.eye(2), "svd").startswith("ab02f5e5aeeb50b5")


def test_what_is_cached_is_not_computed_again(tmp_path):
    assert warm_cache([WEIGHT, WEIGHT.T], "gram", cache=tmp_path) == 2
    assert warm_cache([WEIGHT, WEIGHT.T, WEIGHT[:3]], "gram", cache=tmp_path) == 1


def test_weights_that_are_not_finite_are_refused(tmp_path):
    with pytest.raises(ModelError, match="finite weights"):
        factorise(torch.tensor([[1.0, float("nan")]]), "gram", cache=tmp_path)
