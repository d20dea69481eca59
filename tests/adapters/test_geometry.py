import math

import geoopt
import mpmath
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rlpeft.adapters.geometry import (
    KNEE,
    MAPS,
    arcsine_ratio,
    arctangent_ratio,
    gain,
    lift,
    saturation,
    sine_ratio,
    tangent_ratio,
    time_coordinate,
)

FIRST_ORDER = {"ambient": -1 / 6, "stereo": 1 / 3, "proj": -1.0}


def f64(*values):
    return [torch.tensor(value, dtype=torch.float64) for value in values]


def hyperbolic_gain(radius, norm, image):
    norm2, image2, kappa = f64(norm**2, image**2, -1 / radius**2)
    return gain(norm2, image2, kappa, map="ambient", sign=-1).item()


@pytest.fixture
def vectors():
    """x [16, 6], BAx [16, 5] with norms of 0.05 to 1, float64."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(16, 6, dtype=torch.float64, generator=generator)
    x *= torch.linspace(0.05, 1, 16, dtype=torch.float64)[:, None] / x.norm(dim=-1, keepdim=True)
    matrix = torch.randn(5, 6, dtype=torch.float64, generator=generator) / 6
    return x, matrix


# --- values derived by hand or by another programme -------------------------------------------


@pytest.mark.parametrize(
    ("radius", "norm", "image", "expected"),
    [
        (1, 1, 0.1, 1.17251276),
        (1, 1, 0.5, 1.11632692),
        (1, 2, 0.5, 1.62769981),
        (1, 3, 1, 1.92060718),
        (2, 1, 0.5, 1.03074538),
        (2, 3, 1, 1.32128758),
    ],
)
def test_lorentz_gain_has_the_tabulated_values(radius, norm, image, expected):
    assert hyperbolic_gain(radius, norm, image) == pytest.approx(expected, abs=5e-9)


@pytest.mark.parametrize(
    ("radius", "first", "second", "excess"),
    [
        (1, 0.0702231401, 0.1404462802, 0.0102231401),
        (2, 0.0624806090, 0.1249612179, 0.0024806090),
        (10, 0.0600982411, 0.1201964823, 9.82411e-5),
    ],
)
def test_worked_case(radius, first, second, excess):
    g = hyperbolic_gain(radius, 1.0, math.sqrt(0.018))
    assert (g * 0.06, g * 0.12) == pytest.approx((first, second), abs=1e-10)
    assert (g - 1) * 0.06 == pytest.approx(excess, abs=1e-10)


@pytest.mark.parametrize(("radius", "expected"), [(16, 9.1999e-4), (64, 9.20045e-4)])
def test_second_order_residual_of_the_corrected_expansion(radius, expected):
    image = math.sqrt(0.018)
    corrected = (1 - 0.018) / (6 * radius**2)
    residual = (hyperbolic_gain(radius, 1.0, image) - 1 - corrected) * image * radius**4
    assert residual == pytest.approx(expected, rel=2e-5)


def test_the_published_expansion_leaves_a_second_order_residual():
    image, radius = math.sqrt(0.018), 64
    residual = (1 + 1 / (6 * radius**2) - hyperbolic_gain(radius, 1.0, image)) * image * radius**2
    assert residual == pytest.approx(image**3 / 6, rel=1e-3)


def test_lorentz_gain_agrees_with_50_digit_arithmetic_through_the_explicit_map():
    with mpmath.workdps(50):
        for radius, norm, image in [
            (1, 1e-6, 1e-9),
            (0.5, 3, 2),
            (1, 12, 1),
            (1, 30, 1e-3),
            (2, 300, 7),
        ]:
            r, n, b = mpmath.mpf(radius), mpmath.mpf(norm), mpmath.mpf(image)
            space = r * mpmath.sinh(n / r) * b / n
            explicit = r * mpmath.asinh(space / r) / b
            got = hyperbolic_gain(radius, norm, image)
            assert got == pytest.approx(float(explicit), rel=2e-14)


def test_lorentz_gain_agrees_with_geoopt(vectors):
    x, matrix = vectors
    for radius2 in (0.5, 1.0, 4.0):
        manifold = geoopt.Lorentz(k=torch.tensor(radius2, dtype=torch.float64))
        tangent = torch.cat([torch.zeros(len(x), 1), x], -1)
        space = manifold.expmap0(tangent)[:, 1:] @ matrix.T
        time = (space.square().sum(-1, keepdim=True) + radius2).sqrt()
        expected = manifold.logmap0(torch.cat([time, space], -1))[:, 1:]
        assert_gain_gives(x, matrix, -1 / radius2, "ambient", expected, atol=1e-11)


@pytest.mark.parametrize("kappa", [-1.0, -0.25, 0.25, 1.0])
def test_stereographic_gain_agrees_with_geoopt(vectors, kappa):
    x, matrix = vectors
    manifold = geoopt.Stereographic(k=torch.tensor(kappa, dtype=torch.float64))
    expected = manifold.logmap0(manifold.expmap0(x) @ matrix.T)
    assert_gain_gives(x, matrix, kappa, "stereo", expected, atol=1e-11)


def test_spherical_ambient_gain_agrees_with_the_explicit_map(vectors):
    x, matrix = vectors
    for kappa in (0.25, 1.0):
        root, norm = math.sqrt(kappa), x.norm(dim=-1, keepdim=True)
        image = (torch.sin(root * norm) / root * x / norm) @ matrix.T
        image_norm = image.norm(dim=-1, keepdim=True)
        expected = torch.asin(root * image_norm) / root * image / image_norm
        assert_gain_gives(x, matrix, kappa, "ambient", expected, atol=1e-12)


@pytest.mark.parametrize("kappa", [-0.4, 0.4, 1.0])
def test_projection_gain_agrees_with_the_explicit_projections(vectors, kappa):
    x, matrix = vectors
    root, norm2 = math.sqrt(abs(kappa)), x.square().sum(-1, keepdim=True)
    height = (1 - kappa * norm2) / (root * (1 + kappa * norm2))
    space = 2 * x / (1 + kappa * norm2)
    constraint = math.copysign(1, kappa) * height.square() + space.square().sum(-1, keepdim=True)
    assert torch.allclose(constraint, torch.tensor(1 / kappa, dtype=torch.float64), rtol=1e-12)
    image = space @ matrix.T
    rebuilt = ((1 - kappa * image.square().sum(-1, keepdim=True)) / abs(kappa)).sqrt()
    expected = image / (1 + root * rebuilt)
    assert_gain_gives(x, matrix, kappa, "proj", expected, atol=1e-12)


def assert_gain_gives(x, matrix, kappa, map_name, expected, *, atol):
    image = x @ matrix.T
    norm2, image2 = x.square().sum(-1), image.square().sum(-1)
    for sign in (0, int(math.copysign(1, kappa))):
        g = gain(norm2, image2, f64(kappa)[0], map=map_name, sign=sign)
        assert torch.allclose(g[:, None] * image, expected, rtol=0, atol=atol)


def test_mobius_matvec_between_exp_and_log_is_a_plain_linear_map(vectors):
    x, matrix = vectors
    manifold = geoopt.Stereographic(k=torch.tensor(-1.0, dtype=torch.float64))
    through = manifold.logmap0(manifold.mobius_matvec(matrix, manifold.expmap0(x)))
    assert torch.allclose(through, x @ matrix.T, rtol=0, atol=1e-13)


# --- identities -----------------------------------------------------------------------------


@pytest.mark.parametrize("map_name", MAPS)
@pytest.mark.parametrize("sign", [-1, 0, 1])
@pytest.mark.parametrize("grad", [False, True])
def test_gain_is_exactly_one_at_zero_curvature(map_name, sign, grad):
    norm2 = torch.tensor([0.0, 1e-12, 1.0, 50.0, 1e6], requires_grad=grad)
    with torch.set_grad_enabled(grad):
        g = gain(norm2, norm2.flip(0), torch.zeros(1), map=map_name, sign=sign)
    assert torch.equal(g, torch.ones(5))


@pytest.mark.parametrize("map_name", MAPS)
@pytest.mark.parametrize("kappa", [-1e-3, 1e-3])
def test_gain_follows_the_first_order_law(map_name, kappa):
    norm2 = torch.tensor([1.0, 4.0], dtype=torch.float64)
    image2 = torch.tensor([0.25, 0.25], dtype=torch.float64)
    g = gain(norm2, image2, torch.tensor(kappa, dtype=torch.float64), map=map_name)
    ratio = (g - 1) / (FIRST_ORDER[map_name] * kappa * (norm2 - image2))
    assert ((ratio > 0.996) & (ratio < 1.004)).all()


@pytest.mark.parametrize(
    ("map_name", "expected"), [("ambient", -0.790), ("stereo", 1.580), ("proj", -4.740)]
)
def test_curvature_gradient_at_zero_is_the_first_order_coefficient(map_name, expected):
    kappa = torch.zeros(1, requires_grad=True)
    gain(torch.tensor([1.0, 4.0]), torch.tensor([0.25, 0.01]), kappa, map=map_name).sum().backward()
    assert kappa.grad.item() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("map_name", MAPS)
@pytest.mark.parametrize("kappa", [-0.5, -0.01, 0.01, 0.5])
def test_an_isometry_has_gain_one(map_name, kappa):
    norm2 = torch.logspace(-8, -0.5, 20, dtype=torch.float64)
    g = gain(norm2, norm2, torch.tensor(kappa), map=map_name)
    assert (g - 1).abs().max() < 1e-13


@pytest.mark.parametrize("map_name", MAPS)
def test_gain_is_continuous_where_curvature_changes_sign(map_name):
    norm2, image2 = f64(2.0, 0.3)
    left, right = (gain(norm2, image2, k, map=map_name) for k in f64(-1e-9, 1e-9))
    assert abs(left - right) < 1e-8


def test_log_inverts_exp_in_both_precisions():
    for dtype, bound in ((torch.float64, 1e-12), (torch.float32, 2.5e-7)):
        norm = torch.logspace(-6, 1, 200, dtype=dtype)
        for kappa in (-0.1, -1.0, -2.0):
            factor = sine_ratio(kappa * norm**2, sign=-1)
            space = factor * norm
            back = arcsine_ratio(kappa * space**2, sign=-1) * space
            assert ((back - norm).abs() / norm).max() < bound


@pytest.mark.parametrize(("dtype", "bound"), [(torch.float64, 2e-15), (torch.float32, 1e-6)])
def test_lifted_points_lie_on_the_hyperboloid(dtype, bound):
    norm2 = torch.logspace(-12, 1.5, 100, dtype=dtype)
    for radius2 in (0.25, 1.0, 9.0):
        kappa = torch.tensor(-1 / radius2, dtype=dtype)
        rise, factor = lift(norm2, kappa)
        time = rise + math.sqrt(radius2)
        error = -(time**2) + factor**2 * norm2 + radius2
        assert (error.abs() / time**2).max() < bound
        assert torch.allclose(time_coordinate(factor**2 * norm2, kappa), rise, rtol=20 * bound)


def test_ratios_invert_each_other():
    v = torch.linspace(-0.9, 0.9, 181, dtype=torch.float64)
    for there, back in ((sine_ratio, arcsine_ratio), (tangent_ratio, arctangent_ratio)):
        factor = there(v)
        assert torch.allclose(factor * back(v * factor**2), torch.ones(()).double(), rtol=1e-13)


# --- numerics -------------------------------------------------------------------------------

NORMS = (0.0, 1e-20, 1e-4, 1.0, 8.0, 20.0, 80.0, 1e3)
KAPPAS = (-4.0, -1.0, -0.01, 0.01, 1.0, 4.0)


@pytest.mark.parametrize("map_name", MAPS)
@pytest.mark.parametrize("max_radius", [None, 4.0])
@pytest.mark.parametrize("known_sign", [False, True])
def test_value_and_gradients_are_finite_over_the_whole_grid(map_name, max_radius, known_sign):
    for kappa in KAPPAS:
        norm, image = (
            t.flatten() for t in torch.meshgrid(*[torch.tensor(NORMS)] * 2, indexing="ij")
        )
        norm2, image2 = (norm**2).requires_grad_(), (image**2).requires_grad_()
        curvature = torch.full_like(norm, kappa, requires_grad=True)
        sign = int(math.copysign(1, kappa)) if known_sign else 0
        g = gain(norm2, image2, curvature, map=map_name, sign=sign, max_radius=max_radius)
        g.sum().backward()
        for tensor in (g, norm2.grad, image2.grad, curvature.grad):
            assert torch.isfinite(tensor).all()


@pytest.mark.parametrize("map_name", MAPS)
def test_float32_gain_is_accurate(map_name):
    norm, image = torch.meshgrid(
        torch.logspace(-6, 1.2, 40), torch.logspace(-6, 1.2, 40), indexing="ij"
    )
    for kappa in KAPPAS:
        single = gain(norm**2, image**2, torch.tensor(kappa), map=map_name)
        double = gain(norm.double() ** 2, image.double() ** 2, torch.tensor(kappa), map=map_name)
        # `proj` multiplies rounding by 1 / (1 - 0.95²) = 10 at the edge of the ball.
        assert ((single - double).abs() / double).max() < 4e-6


@pytest.mark.parametrize("map_name", MAPS)
@pytest.mark.parametrize("kappa", [-1.0, -0.2, 0.2, 1.0])
@pytest.mark.parametrize("max_radius", [None, 2.0])
def test_gradients_agree_with_finite_differences(map_name, kappa, max_radius):
    norm2 = torch.tensor([1e-3, 0.2, 0.81, 2.5, 9.0, 100.0], dtype=torch.float64)
    image2 = torch.tensor([1e-3, 0.1, 2.0, 0.4, 0.01, 30.0], dtype=torch.float64)
    curvature = torch.full_like(norm2, kappa)
    inputs = [t.requires_grad_() for t in (norm2, image2, curvature)]

    def value(n, b, k):
        return gain(n, b, k, map=map_name, max_radius=max_radius)

    assert torch.autograd.gradcheck(value, inputs, eps=1e-7, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("map_name", MAPS)
def test_inference_gives_the_value_of_training(map_name):
    norm2, image2 = torch.logspace(-30, 4, 200), torch.logspace(-30, 2, 200)
    for kappa in (*KAPPAS, 0.0):
        with_grad = gain(norm2, image2, torch.tensor(kappa), map=map_name)
        with torch.no_grad():
            without = gain(norm2, image2, torch.tensor(kappa), map=map_name)
        assert torch.allclose(with_grad, without, rtol=1e-6, atol=0)


def test_saturation_leaves_small_radii_and_bounds_large_ones():
    radius = torch.cat([torch.tensor([0.0]), torch.logspace(-8, 6, 500, dtype=torch.float64)])
    radius2 = (radius.double() ** 2).requires_grad_()
    factor = saturation(radius2, limit=2.0)
    assert torch.equal(factor[radius < 2 * KNEE], torch.ones_like(factor[radius < 2 * KNEE]))
    out = factor * radius
    assert (out <= 2.0 + 1e-12).all()
    assert (out.diff() >= 0).all()


def test_saturation_keeps_a_gradient_on_outliers():
    radius2 = torch.tensor([100.0**2], requires_grad=True)
    (saturation(radius2, limit=2.0) * radius2.sqrt()).sum().backward()
    assert radius2.grad.item() > 0


def test_bounded_lorentz_gain_is_tame_at_outliers():
    norm2, image2 = torch.tensor([85.0**2]), torch.tensor([0.0])
    bounded = gain(norm2, image2, torch.tensor(-1.0), map="ambient", sign=-1, max_radius=4.0)
    free = gain(norm2, image2, torch.tensor(-1.0), map="ambient", sign=-1)
    assert bounded < 1
    assert free > 1e15


@settings(max_examples=200, deadline=None)
@given(
    norm2=st.floats(0, 1e8, width=32),
    image2=st.floats(0, 1e8, width=32),
    kappa=st.floats(-4, 4, width=32),
    map_name=st.sampled_from(MAPS),
)
def test_gain_is_positive_and_finite(norm2, image2, kappa, map_name):
    g = gain(torch.tensor(norm2), torch.tensor(image2), torch.tensor(kappa), map=map_name)
    assert torch.isfinite(g)
    assert g > 0


def test_half_precision_inputs_are_computed_in_float32():
    norm2, image2 = torch.tensor([1.5], dtype=torch.bfloat16), torch.tensor([0.5])
    g = gain(norm2, image2.bfloat16(), torch.tensor(-1.0), map="ambient")
    assert g.dtype == torch.float32
    assert torch.equal(g, gain(norm2.float(), image2, torch.tensor(-1.0), map="ambient"))


@pytest.mark.slow
@pytest.mark.parametrize("map_name", MAPS)
def test_gain_compiles_into_one_graph(map_name):
    compiled = torch.compile(gain, fullgraph=True, backend="aot_eager")
    norm2 = torch.rand(5, requires_grad=True)
    arguments = (norm2, torch.rand(5), torch.tensor([-0.5]))
    assert torch.allclose(compiled(*arguments, map=map_name), gain(*arguments, map=map_name))
