"""Spaces of known hyperbolicity have it."""

import math

import networkx as nx
import pytest
import torch

from rlpeft.analysis import reference_spaces
from rlpeft.analysis.reference_spaces import SPACES, reference_figures

SIZES = (40, 60, 90)


@pytest.fixture(scope="module")
def found():
    return reference_figures(SIZES)


def test_every_space_is_drawn_once_for_each_number_of_points(found):
    assert set(found) == set(SPACES)
    assert all(len(figure.base) == len(figure.sampled) == len(SIZES) for figure in found.values())


@pytest.mark.parametrize("name", ["tree", "scale-free tree"])
def test_trees_have_delta_zero(found, name):
    assert found[name].base == found[name].sampled == (0.0,) * len(SIZES)


def test_a_sphere_is_near_the_largest_that_there_is(found):
    """Four points on a great circle, a quarter apart: δ is half of the diameter."""
    assert 0.85 < min(found["sphere"].sampled) <= max(found["sphere"].sampled) <= 1.0


def test_graphs_with_circles_lie_between(found):
    for name in ("random graph", "clustered graph"):
        assert 0 < found[name].sampled_mean < found["sphere"].sampled_mean


def test_distances_on_the_sphere_are_of_great_circles():
    table = reference_spaces._sphere(200, torch.Generator().manual_seed(0))
    assert table.max() <= math.pi
    assert table.diagonal().eq(0).all()
    torch.testing.assert_close(table, table.T)


def test_a_graph_in_pieces_is_its_largest():
    graph = nx.Graph([(0, 1), (1, 2), (2, 3), (7, 8)])
    assert reference_spaces._paths(graph).tolist() == [
        [0, 1, 2, 3],
        [1, 0, 1, 2],
        [2, 1, 0, 1],
        [3, 2, 1, 0],
    ]


def test_equal_seeds_draw_equal_spaces():
    assert reference_figures((12, 30), seed=3) == reference_figures((12, 30), seed=3)
    assert reference_figures((12, 30), seed=3) != reference_figures((12, 30), seed=4)
