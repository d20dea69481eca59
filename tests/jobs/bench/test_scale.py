"""The measure behind the figures of SVF's factors."""

import torch

from jobs.bench.scale import MOST_ERROR, errors


def test_errors_are_those_of_the_decomposition_and_not_of_the_measure():
    weight = torch.randn(96, 64, generator=torch.Generator().manual_seed(0))
    found = errors(weight)
    assert found["gram"] <= MOST_ERROR
    assert found["gram"] < found["svd"]
