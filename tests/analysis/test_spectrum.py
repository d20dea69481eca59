"""Shares of singular values, by hand and on weights made to have them."""

import pytest
import torch
from torch import nn

from rlpeft.analysis.spectrum import spectra, top_share
from rlpeft.errors import ConfigError


class Model(nn.Module):
    """Two linear layers, one of them the output head."""

    def __init__(self):
        super().__init__()
        self.proj = nn.Linear(3, 2, bias=False)
        self.head = nn.Linear(2, 4, bias=False)
        # Singular values 3 sqrt 5 and sqrt 5: W = [[3, 0], [4, 5]] with a column of zeros.
        self.proj.weight.data = torch.tensor([[3.0, 0.0, 0.0], [4.0, 5.0, 0.0]])

    def get_output_embeddings(self):
        return self.head


def test_the_share_is_that_of_the_sum_of_singular_values():
    (found,) = spectra(Model(), [1, 2, 9])
    assert found.shares[1] == pytest.approx(0.75, abs=1e-6)
    assert found.shares[2] == found.shares[9] == pytest.approx(1.0)
    assert found.stable_rank == pytest.approx(50 / 45, rel=1e-5)


def test_the_output_head_is_left_out():
    assert [found.module for found in spectra(Model(), [1])] == ["proj"]


def test_a_flat_spectrum_is_shared_equally():
    assert top_share(torch.ones(8), 2) == 0.25


@pytest.mark.parametrize("tops", [[], [0, 4]])
def test_numbers_below_one_are_refused(tops):
    with pytest.raises(ConfigError, match="--top must be numbers of at least 1"):
        spectra(Model(), tops)
