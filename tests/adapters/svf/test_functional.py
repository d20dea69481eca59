"""SVF's maths against worked examples, autograd and finite differences.

The worked numbers are exact: W = [[3, 0], [4, 5]] has singular values 3√5 and √5.
"""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.testing import assert_close

from rlpeft.adapters.svf.factors import Factors, factorise
from rlpeft.adapters.svf.functional import (
    dense_linear,
    dense_weight,
    multiplier,
    rotate,
    spectral_linear,
    spectral_weight,
)

W = torch.tensor([[3.0, 0.0], [4.0, 5.0]])


def bend(weight: torch.Tensor, z: list[float], tmp_path, parametrisation="direct"):
    factors = factorise(weight, "gram", cache=tmp_path)
    z_R = multiplier(torch.tensor(z), factors.singular_values, parametrisation)
    return dense_weight(weight, factors, z_R)


def logit(m: float) -> float:
    return float(torch.logit(torch.tensor(m, dtype=torch.float64)))


@pytest.mark.parametrize(
    ("z", "expected"),
    [
        ([1.0, 1.0], [[3.0, 0.0], [4.0, 5.0]]),
        ([1.0, 0.5], [[2.25, 0.75], [4.25, 4.75]]),
        ([0.5, 1.0], [[2.25, -0.75], [1.75, 2.75]]),
        ([2.0, 2.0], [[6.0, 0.0], [8.0, 10.0]]),
    ],
)
def test_direct_multiplies_the_singular_values(z, expected, tmp_path):
    assert_close(bend(W, z, tmp_path), torch.tensor(expected), rtol=0, atol=2e-6)


def test_identity_is_exact_in_every_dtype(tmp_path):
    for dtype in (torch.float32, torch.bfloat16, torch.float16):
        weight = torch.randn(6, 9, generator=torch.Generator().manual_seed(1)).to(dtype)
        assert torch.equal(bend(weight, [1.0] * 6, tmp_path), weight)


@pytest.mark.parametrize(
    ("m", "expected"),
    [
        ((0.8, 0.4), [[18 / 7, 6 / 7], [34 / 7, 38 / 7]]),  # z = (1, 1/2), c = 8/7
        ((0.4, 0.8), [[3.6, -1.2], [2.8, 4.4]]),  # z = (1/2, 1), c = 1.6
        ((0.3, 0.3), [[3.0, 0.0], [4.0, 5.0]]),  # any constant is the base
    ],
)
def test_sigmoid_renorm_keeps_the_nuclear_norm(m, expected, tmp_path):
    bent = bend(W, [logit(x) for x in m], tmp_path, "sigmoid_renorm")
    assert_close(bent, torch.tensor(expected), rtol=0, atol=5e-6)
    assert float(torch.linalg.matrix_norm(bent, "nuc")) == pytest.approx(4 * 5**0.5, rel=1e-6)


def test_tall_matrix_uses_the_input_side(tmp_path):
    tall = torch.tensor([[2.0, 0.0], [0.0, 1.0], [0.0, 0.0]])
    assert not factorise(tall, "gram", cache=tmp_path).output_side
    bent = bend(tall, [logit(0.5), logit(0.75)], tmp_path, "sigmoid_renorm")
    expected = torch.tensor([[12 / 7, 0.0], [0.0, 9 / 7], [0.0, 0.0]])
    assert_close(bent, expected, rtol=0, atol=2e-6)


def test_permuted_z_changes_the_output(tmp_path):
    assert not torch.allclose(bend(W, [1.3, 0.7], tmp_path), bend(W, [0.7, 1.3], tmp_path))


def gradient(z: list[float], tmp_path) -> torch.Tensor:
    """dz of L = (x W'ᵀ)_11 at x = e1, so that G = e1 e1ᵀ."""
    factors = factorise(W, "gram", cache=tmp_path)
    z_R = torch.tensor(z, requires_grad=True)
    bent = dense_weight(W, factors, z_R.detach())
    x = torch.tensor([[1.0, 0.0]])
    dense_linear(x, z_R, bent_MN=bent, weight_MN=W, factors=factors)[0, 0].backward()
    return z_R.grad


@pytest.mark.parametrize("z", [[1.0, 0.5], [1.0, 0.001], [0.0, 1.0]])
def test_gradient_is_that_of_the_worked_example(z, tmp_path):
    """dz_i = s_i u_i1 v_i1 = 1.5 for both, whatever z; also where dividing by z is impossible."""
    assert_close(gradient(z, tmp_path), torch.tensor([1.5, 1.5]), rtol=0, atol=1e-5)


def test_sigmoid_renorm_gradient_is_orthogonal_to_the_multiplier(tmp_path):
    """W' does not change when all m are scaled, so Σ m_i dL/dm_i = 0; dp as worked by hand."""
    factors = factorise(W, "gram", cache=tmp_path)
    p_R = torch.tensor([0.1, -0.3], requires_grad=True)
    z_R = multiplier(p_R, factors.singular_values, "sigmoid_renorm")
    bent = dense_weight(W, factors, z_R.detach())
    x = torch.tensor([[1.0, 0.0]])
    dense_linear(x, z_R, bent_MN=bent, weight_MN=W, factors=factors)[0, 0].backward()
    assert_close(p_R.grad, torch.tensor([-0.3182, 0.3848]), rtol=0, atol=5e-5)
    m = torch.sigmoid(p_R.detach())
    assert float((m * p_R.grad / (m * (1 - m))).sum()) == pytest.approx(0, abs=1e-6)


@given(
    rows=st.integers(1, 6),
    columns=st.integers(1, 6),
    smallest=st.sampled_from([0.5, 0.0]),
    seed=st.integers(0, 10_000),
)
def test_dense_and_factored_agree_with_finite_differences(rows, columns, smallest, seed):
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(rows, columns, generator=generator, dtype=torch.float64)
    u, s, vt = torch.linalg.svd(weight, full_matrices=False)
    output_side = rows <= columns
    factors = Factors(u if output_side else vt.T, s, output_side, "")
    z = smallest + torch.rand(min(rows, columns), generator=generator, dtype=torch.float64)
    z[0] = smallest
    x = torch.randn(3, columns, generator=generator, dtype=torch.float64)

    def dense(x, z):
        bent = weight + (u * (z.detach() - 1) * s) @ vt
        return dense_linear(x, z, bent_MN=bent, weight_MN=weight, factors=factors)

    def reference(x, z):
        return x @ ((u * (s * z)) @ vt).T

    x.requires_grad_(), z.requires_grad_()
    direction = torch.randn(3, rows, generator=generator, dtype=torch.float64)
    ours = torch.autograd.grad((dense(x, z) * direction).sum(), (x, z))
    theirs = torch.autograd.grad((reference(x, z) * direction).sum(), (x, z))
    for a, b in zip(ours, theirs, strict=True):
        assert_close(a, b, rtol=1e-9, atol=1e-9)


def test_rotate_takes_one_z_for_each_sequence(tmp_path):
    weight = torch.randn(5, 7, generator=torch.Generator().manual_seed(3))
    factors = factorise(weight, "gram", cache=tmp_path)
    y = torch.randn(2, 4, 5, generator=torch.Generator().manual_seed(4))
    change = torch.randn(2, 1, 5, generator=torch.Generator().manual_seed(5))
    together = rotate(y, factors.basis, change)
    alone = torch.stack([rotate(y[b], factors.basis, change[b]) for b in range(2)])
    assert_close(together, alone)


@pytest.mark.parametrize("shape", [(5, 8), (8, 5), (6, 6)])
def test_the_spectral_form_gives_each_row_its_own_weight(shape, tmp_path):
    generator = torch.Generator().manual_seed(2)
    weight = torch.randn(shape, generator=generator)
    factors = factorise(weight, "gram", cache=tmp_path)
    z_BR = torch.stack([torch.ones(min(shape)), torch.rand(min(shape), generator=generator)])
    x_BTN = torch.randn(2, 3, shape[1], generator=generator)
    spectral = spectral_weight(weight, factors)
    y_BTM = spectral_linear(x_BTN, z_BR[:, None], spectral_MN=spectral, factors=factors)
    u, s, vt = torch.linalg.svd(weight.double(), full_matrices=False)
    for x_TN, z_R, y_TM in zip(x_BTN, z_BR, y_BTM, strict=True):
        expected = x_TN.double() @ (u @ torch.diag(s * z_R) @ vt).T
        assert_close(y_TM.double(), expected, rtol=0, atol=1e-5)
