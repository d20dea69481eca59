"""Square factors by the Gram matrix, against closed forms in fp64 that decompose nothing.

W' = U diag(s f(s)) Vᵀ is W f(√(Wᵀ W)) for any function f, whatever basis is chosen where singular
values are equal: with f(s) = a + b s² it is a W + b W Wᵀ W.
"""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.testing import assert_close

from rlpeft.adapters.svf import decompose
from rlpeft.adapters.svf.decompose import DECOMPOSITIONS, by_gram, by_svd
from rlpeft.adapters.svf.factors import Factors
from rlpeft.adapters.svf.functional import dense_weight

# Singular values: spread, clustered, equal, zero, and of a condition of 1e7.
SPECTRA = st.one_of(
    st.lists(st.floats(0.01, 10.0), min_size=1, max_size=12),
    st.lists(st.sampled_from([2.0, 2.0 + 1e-6, 1.0, 0.0]), min_size=1, max_size=12),
    st.lists(st.sampled_from([5.0, 5e-4, 5e-7, 0.0]), min_size=1, max_size=12),
)
LONGER = st.sampled_from([0, 1, 5, 300])


def orthogonal(rows, columns, seed):
    drawn = torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed)).double()
    return torch.linalg.qr(drawn)[0]


def matrix(values, longer, is_tall, seed):
    """A weight in fp32 with nearly these singular values, the longer side first if `is_tall`."""
    size = len(values)
    left, right = orthogonal(size + longer, size, seed), orthogonal(size, size, seed + 1)
    tall = (left * torch.tensor(values, dtype=torch.float64)) @ right.T
    return (tall if is_tall else tall.T).float()


def factors_of(weight, decomposition="gram"):
    basis, values = DECOMPOSITIONS[decomposition](weight)
    return Factors(basis, values, weight.shape[0] <= weight.shape[1], "")


@given(SPECTRA, LONGER, st.booleans(), st.integers(0, 99))
def test_multipliers_that_follow_the_singular_values_need_no_decomposition(
    values, longer, is_tall, seed
):
    weight = matrix(values, longer, is_tall, seed)
    factors, top = factors_of(weight), float(weight.norm()) or 1.0
    exact = weight.double()
    for a, b in ((1.0, 0.3), (1.3, -0.6)):
        z = a + b * (factors.singular_values.double() / top) ** 2
        bent = dense_weight(exact, factors, z.float())
        closed = a * exact + b / top**2 * exact @ exact.T @ exact
        assert float((bent.double() - closed).norm()) <= 1e-6 * top


@given(SPECTRA, LONGER, st.booleans(), st.integers(0, 99))
def test_the_basis_is_orthogonal_and_the_values_are_those_of_the_weight(
    values, longer, is_tall, seed
):
    weight = matrix(values, longer, is_tall, seed)
    basis, found = by_gram(weight)
    assert basis.dtype == found.dtype == torch.float32
    size = min(weight.shape)
    assert basis.shape == (size, size)
    assert_close(basis.double().T @ basis.double(), torch.eye(size).double(), rtol=0, atol=1e-6)
    assert (found[:-1] >= found[1:]).all()
    top = max(values)
    assert_close(
        found.double(),
        torch.tensor(sorted(values, reverse=True)).double(),
        rtol=0,
        atol=max(1e-6 * top, 1e-12),
    )


@pytest.mark.parametrize("is_tall", [False, True])
def test_any_multipliers_are_as_exact_as_float32_where_the_svd_is_not(is_tall):
    weight = matrix(torch.linspace(0.1, 3.0, 96).tolist(), 64, is_tall, seed=1)
    z = 1 + 0.3 * (torch.arange(96) % 2 * 2 - 1)
    u, s, vt = torch.linalg.svd(weight.double(), full_matrices=False)
    true = u @ torch.diag(s * z) @ vt
    error = {
        how: float((dense_weight(weight.double(), factors_of(weight, how), z) - true).norm())
        for how in DECOMPOSITIONS
    }
    assert error["gram"] <= 1e-6 * float(true.norm())
    assert error["gram"] < error["svd"]


def test_the_largest_element_of_each_direction_is_positive():
    basis, _ = by_gram(matrix([3.0, 2.0, 1.0, 0.5], 3, is_tall=True, seed=5))
    assert (basis.gather(0, basis.abs().argmax(0, keepdim=True)) > 0).all()


@pytest.mark.parametrize("is_tall", [False, True])
def test_a_weight_in_parts_gives_what_it_gives_whole(is_tall, monkeypatch):
    weight = matrix([4.0, 3.0, 2.0, 1.0], 50, is_tall, seed=7)
    whole = by_gram(weight)
    monkeypatch.setattr(decompose, "PART", 40)
    for found, wanted in zip(by_gram(weight), whole, strict=True):
        assert_close(found, wanted, rtol=0, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_rounded_weight_is_that_weight_in_float32(dtype):
    weight = matrix([4.0, 3.0, 2.0], 2, is_tall=False, seed=9).to(dtype)
    for decompose_ in (by_gram, by_svd):
        for found, wanted in zip(decompose_(weight), decompose_(weight.float()), strict=True):
            assert torch.equal(found, wanted)
