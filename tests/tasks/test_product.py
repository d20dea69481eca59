"""Products to be calculated: right answers, and factors that no two splits share."""

import re

import pytest

from rlpeft.errors import DataError
from rlpeft.tasks.base import SPLITS
from rlpeft.tasks.product import product_task


def texts(split, **options):
    return [
        problem.prompt if isinstance(problem.prompt, str) else problem.prompt[0]["content"]
        for problem in product_task(num_validation=30, num_test=40, **options).split(split)
    ]


@pytest.mark.parametrize("chat", [True, False])
def test_an_answer_is_the_product_of_two_factors_of_two_digits(chat):
    problems = product_task(num_validation=30, num_test=40, chat=chat).split("test")
    assert len(problems) == 40
    for text, problem in zip(texts("test", chat=chat), problems, strict=True):
        first, second = re.fullmatch(r"([1-9]{2})\*([1-9]{2})=", text).groups()
        repeated = sum(int(first) for _ in range(int(second)))
        assert problem.answer == str(repeated)


def test_no_two_splits_share_a_problem():
    whole = [text for split in SPLITS for text in texts(split)]
    assert len(set(whole)) == len(whole)


def test_another_seed_deals_other_problems_of_those_held_out():
    assert texts("test") == texts("test", seed=0) != texts("test", seed=1)
    assert not set(texts("test", seed=1)) & set(texts("train"))


def test_more_than_is_held_out_is_refused():
    with pytest.raises(DataError, match=r"at most 2000 for 'product', got 1 \+ 2000"):
        product_task(num_validation=1, num_test=2000)
