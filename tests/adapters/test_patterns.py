"""Expressions that name modules: matched within a limit, whoever wrote them."""

import pytest

from rlpeft.adapters.patterns import check_pattern
from rlpeft.adapters.policy import adapted_modules, attach_adapter
from rlpeft.errors import ConfigError
from rlpeft.recipe.run import SvfAdapter

ENDLESS = "(.*.*)*!"
NAMES = [f"model.layers.{n}.self_attn.q_proj" for n in range(40)]


@pytest.mark.slow
def test_an_expression_that_takes_too_long_to_match_is_refused():
    with pytest.raises(ConfigError, match=r"adapter\.targets must be an expression that matches"):
        check_pattern(ENDLESS, NAMES)


def test_an_expression_that_is_none_is_refused():
    with pytest.raises(ConfigError, match="must be a regular expression, got '\\('"):
        check_pattern("(", NAMES)


@pytest.mark.slow
def test_an_adapter_with_targets_that_never_end_is_not_attached(llama):
    with pytest.raises(ConfigError, match="Repeat nothing that itself repeats"):
        attach_adapter(llama(), SvfAdapter(targets=ENDLESS), seed=0)


def test_an_expression_of_a_user_names_its_modules(llama):
    policy = attach_adapter(llama(), SvfAdapter(targets=r".*\.0\..*(q|v)_proj"), seed=0)
    assert adapted_modules(policy) == [f"model.layers.0.self_attn.{n}_proj" for n in "qv"]
