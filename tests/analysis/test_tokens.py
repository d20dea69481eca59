import numpy as np
import pytest
import torch

from rlpeft.analysis.tokens import fit_power_law, norms_by_frequency, spearman
from rlpeft.errors import DataError


@pytest.mark.parametrize("exponent", [1.8, 2.5])
def test_the_exponent_of_a_zeta_sample_is_found(exponent):
    counts = torch.from_numpy(np.random.default_rng(0).zipf(exponent, 20_000).clip(max=10**9))
    law = fit_power_law(counts)
    assert law.alpha == pytest.approx(exponent, abs=0.05)
    assert law.ks < 0.02


def test_a_tail_is_found_behind_a_flat_beginning():
    drawn = np.random.default_rng(1).zipf(2.2, 60_000)
    tail = torch.from_numpy(drawn[drawn >= 8].clip(max=10**9))
    flat = torch.randint(1, 8, (len(tail),), generator=torch.Generator().manual_seed(0))
    law = fit_power_law(torch.cat([flat, tail]))
    assert 7 <= law.xmin <= 10
    assert law.alpha == pytest.approx(2.2, abs=0.1)


def test_too_few_tokens_are_refused():
    with pytest.raises(DataError, match="at least 50 distinct tokens"):
        fit_power_law(torch.arange(1, 20))
    with pytest.raises(DataError, match="differing counts"):
        fit_power_law(torch.ones(100))


def test_spearman_sees_ranks_alone():
    a = torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0])
    assert spearman(a, a.exp()) == pytest.approx(1)
    assert spearman(a, -(a**3)) == pytest.approx(-1)
    assert spearman(a, torch.ones(5)) == 0


def test_tied_ranks_are_shared():
    # By hand: ranks (1.5, 1.5, 3, 4) and (1, 2, 3, 4), their Pearson correlation.
    found = spearman(torch.tensor([1.0, 1.0, 2.0, 3.0]), torch.tensor([1.0, 2.0, 3.0, 4.0]))
    assert found == pytest.approx(4.5 / (4.5 * 5) ** 0.5)


def test_norms_are_averaged_by_octave():
    bands = norms_by_frequency(
        torch.tensor([1, 1, 2, 3, 9]), torch.tensor([1.0, 3.0, 4.0, 6.0, 7.0])
    )
    assert [(b.low, b.high, b.num_tokens, b.mean_norm) for b in bands] == [
        (1, 2, 2, 2.0),
        (2, 4, 2, 5.0),
        (8, 16, 1, 7.0),
    ]
