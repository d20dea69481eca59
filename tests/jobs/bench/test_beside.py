"""The bench of a learner beside an engine: what its figures are of, and when they are met."""

import psutil
import pytest
import torch

from jobs.bench.beside import basis_row, mapped, resident, rest_row
from rlpeft.adapters.svf.factors import factorise

GIB = 2**30


@pytest.mark.vllm
@pytest.mark.parametrize(("asleep", "met"), [(1.05, True), (1.2, False)])
def test_a_rest_gives_the_kv_cache_back(asleep, met):
    row = rest_row("tiny", 2 * GIB, int(asleep * GIB))
    assert row.met == met
    assert row.ratio == pytest.approx(2 - asleep)


@pytest.mark.parametrize(
    ("once", "each", "met"),
    [(100, 200, True), (150, 200, False), (100, 100, False)],  # the last: one of them has a copy
)
def test_a_basis_is_held_once_where_both_see_it(once, each, met):
    assert basis_row("tiny", 100, once, each).met == met


def test_factors_are_counted_as_the_cache_maps_them():
    weight = torch.randn(512, 512, generator=torch.Generator().manual_seed(5))
    _, seen = mapped([psutil.Process()])
    factors = factorise(weight, "gram")
    factors.basis.sum()
    once, each = mapped([psutil.Process()])
    assert each - seen >= factors.basis.nbytes
    assert once <= each <= resident([psutil.Process()])
