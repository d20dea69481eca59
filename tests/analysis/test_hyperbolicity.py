import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rlpeft.analysis.hyperbolicity import (
    NULLS,
    covariance_null,
    delta_from_base,
    distances,
    isotropic_null,
    measure,
    permuted_null,
    relative,
    sampled_delta,
)
from rlpeft.errors import DataError


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


def table(rows):
    return torch.tensor(rows, dtype=torch.float64)


def graph_distances(edges, num):
    """Shortest paths by Floyd and Warshall."""
    paths = torch.full((num, num), math.inf, dtype=torch.float64)
    paths.fill_diagonal_(0)
    for a, b, length in edges:
        paths[a, b] = paths[b, a] = length
    for k in range(num):
        paths = torch.minimum(paths, paths[:, k : k + 1] + paths[k : k + 1, :])
    return paths


def four_point_delta(paths):
    """δ by its definition, over all quadruples."""
    worst = 0.0
    for a, b, c, d in itertools.combinations(range(len(paths)), 4):
        sums = sorted(
            float(x)
            for x in (
                paths[a, b] + paths[c, d],
                paths[a, c] + paths[b, d],
                paths[a, d] + paths[b, c],
            )
        )
        worst = max(worst, (sums[2] - sums[1]) / 2)
    return worst


TREE = [(0, 1, 2.0), (1, 2, 1.0), (1, 3, 3.0), (3, 4, 1.5), (3, 5, 0.5), (0, 6, 4.0)]


def test_a_tree_has_delta_zero():
    paths = graph_distances(TREE, 7)
    assert all(delta_from_base(paths, base) == pytest.approx(0, abs=1e-12) for base in range(7))
    assert sampled_delta(paths, 2000, generator=rng()) == pytest.approx(0, abs=1e-12)


def test_equidistant_points_have_delta_zero():
    paths = 1 - torch.eye(6, dtype=torch.float64)
    assert delta_from_base(paths) == 0
    assert sampled_delta(paths, 500, generator=rng()) == 0


def test_a_cycle_of_four_has_delta_one():
    paths = graph_distances([(0, 1, 1), (1, 2, 1), (2, 3, 1), (3, 0, 1)], 4)
    delta = sampled_delta(paths, 10, generator=rng())
    assert (delta, relative(delta, paths)) == (1.0, 1.0)
    assert delta_from_base(paths) == 1.0


def test_a_square_has_the_delta_of_its_diagonals():
    paths = distances(table([[0, 0], [0, 1], [1, 1], [1, 0]]))
    delta = sampled_delta(paths, 10, generator=rng())
    assert delta == pytest.approx(math.sqrt(2) - 1)
    assert relative(delta, paths) == pytest.approx(0.585786, abs=1e-6)


def test_a_geodesic_circle_has_relative_delta_one():
    angle = torch.arange(64, dtype=torch.float64) * 2 * math.pi / 64
    gap = (angle[:, None] - angle[None, :]).abs()
    paths = torch.minimum(gap, 2 * math.pi - gap)
    assert relative(delta_from_base(paths), paths) == pytest.approx(1.0, abs=1e-9)
    assert relative(sampled_delta(paths, 50_000, generator=rng()), paths) > 0.9


def test_a_sphere_is_far_from_a_tree():
    points = torch.randn(400, 3, generator=rng(), dtype=torch.float64)
    points /= points.norm(dim=-1, keepdim=True)
    paths = (points @ points.T).clamp(-1, 1).acos()
    assert 0.9 < relative(sampled_delta(paths, 200_000, generator=rng()), paths) < 1.0


@pytest.mark.parametrize(("dimension", "expected"), [(2, 0.38), (64, 0.29), (1024, 0.10)])
def test_gaussian_points_look_the_more_tree_like_the_more_dimensions_they_have(dimension, expected):
    values = []
    for seed in range(20):
        paths = distances(torch.randn(60, dimension, generator=rng(seed)))
        values.append(relative(delta_from_base(paths), paths))
    assert sum(values) / len(values) == pytest.approx(expected, rel=0.15)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), dimension=st.integers(1, 6))
def test_delta_from_any_base_bounds_delta_from_both_sides(seed, dimension):
    paths = distances(torch.randn(8, dimension, generator=rng(seed)))
    exact = four_point_delta(paths)
    for base in range(8):
        seen = delta_from_base(paths, base)
        assert seen <= exact + 1e-9
        assert exact <= 2 * seen + 1e-9


def test_enough_samples_find_the_four_point_delta():
    for num in (9, 20):
        paths = distances(torch.randn(num, 3, generator=rng(num)))
        assert sampled_delta(paths, 200_000, generator=rng()) == pytest.approx(
            four_point_delta(paths), rel=1e-9
        )


def test_scaling_a_cloud_changes_no_relative_delta():
    points = torch.randn(20, 5, generator=rng())
    small, large = distances(points), distances(1000 * points)
    assert relative(delta_from_base(small), small) == pytest.approx(
        relative(delta_from_base(large), large), rel=1e-4
    )


def test_the_isotropic_null_keeps_norms_alone():
    points = torch.randn(50, 30, generator=rng()) + 5
    null = isotropic_null(points, points, rng(1))
    assert torch.allclose(null.norm(dim=-1), points.double().norm(dim=-1))
    assert null.mean(0).abs().max() < 6


def test_the_permuted_null_keeps_the_values_of_each_coordinate():
    points = torch.randn(50, 30, generator=rng())
    null = permuted_null(points, points, rng(1))
    assert torch.equal(null.sort(0).values, points.double().sort(0).values)
    assert not torch.equal(null, points.double())


def test_the_covariance_null_keeps_mean_and_covariance():
    mixing = torch.randn(6, 6, generator=rng())
    reference = torch.randn(400, 6, generator=rng(1)) @ mixing + 3
    null = covariance_null(torch.zeros(40_000, 6), reference, rng(2))
    scale = reference.std()
    assert torch.allclose(null.mean(0), reference.double().mean(0), atol=0.05 * scale)
    assert torch.allclose(null.T.cov(), reference.double().T.cov(), atol=0.08 * scale**2)


def clouds(num=6, *, repeat=True):
    vocabulary = torch.randn(40, 16, generator=rng())
    drawn = [torch.randint(40, (25,), generator=rng(seed)) for seed in range(num)]
    return [vocabulary[ids if repeat else ids.unique()] for ids in drawn]


def test_gaussian_tokens_are_no_more_tree_like_than_their_nulls():
    found = measure(clouds(12))
    assert found.dimension == 16
    assert found.num_points == (25,) * 12
    for null in NULLS:
        mean, error = found.excess(null)
        assert abs(mean) < 4 * error + 0.03


def test_a_tree_in_space_lies_below_every_null():
    """Leaves of a binary tree: each edge adds an orthogonal step of its length's root."""
    depth, scale = 5, torch.tensor([16.0, 8.0, 4.0, 2.0, 1.0])
    leaves = []
    for path in itertools.product((0, 1), repeat=depth):
        coordinates, node = torch.zeros(2 ** (depth + 1)), 1
        for level, turn in enumerate(path):
            node = 2 * node + turn
            coordinates[node] = scale[level]
        leaves.append(coordinates)
    found = measure([torch.stack(leaves)[rng_order] for rng_order in _orders(8, len(leaves))])
    assert all(found.excess(null)[0] > 2 * found.excess(null)[1] for null in NULLS)


def _orders(num, size):
    return [torch.randperm(size, generator=rng(seed))[:24] for seed in range(num)]


def test_the_same_seed_gives_the_same_report():
    assert measure(clouds(), seed=3) == measure(clouds(), seed=3)
    assert measure(clouds(), seed=3) != measure(clouds(), seed=4)


def test_a_large_cloud_is_cut_and_keeps_its_first_point():
    cloud = torch.randn(100, 8, generator=rng())
    assert measure([cloud], max_points=20).num_points == (20,)


def test_clouds_that_say_nothing_are_refused():
    with pytest.raises(DataError, match="at least one question"):
        measure([])
    with pytest.raises(DataError, match="question 0 must have at least 4 different"):
        measure([torch.ones(10, 4)])
    with pytest.raises(DataError, match="finite"):
        measure([torch.full((10, 4), float("nan"))])
