"""Whether bases have the same singular vectors in the same places."""

from math import cos, pi, sin

import pytest
import torch

from rlpeft.analysis.alignment import alignment, by_chance


def test_vectors_turned_by_an_angle_agree_by_its_cosine():
    turned = torch.tensor([[cos(pi / 3), -sin(pi / 3)], [sin(pi / 3), cos(pi / 3)]])
    assert alignment(torch.eye(2), turned) == pytest.approx(0.5)


def test_the_sign_of_a_vector_says_nothing():
    basis_RR, _ = torch.linalg.qr(torch.randn(8, 8, generator=torch.Generator().manual_seed(0)))
    assert alignment(basis_RR, basis_RR * torch.tensor([1.0, -1.0] * 4)) == pytest.approx(1.0)


def test_the_same_vectors_in_other_places_do_not_agree():
    assert alignment(torch.eye(4), torch.eye(4).roll(1, dims=1)) == 0.0


def test_bases_that_know_nothing_of_each_other_agree_by_chance():
    generator = torch.Generator().manual_seed(0)
    ours, theirs = (torch.linalg.qr(torch.randn(256, 256, generator=generator)).Q for _ in range(2))
    assert alignment(ours, theirs) == pytest.approx(by_chance(256), rel=0.1)
