"""How long the sequences of a server may be."""

import pytest

from jobs.serve import Lengths
from rlpeft.errors import ConfigError


@pytest.mark.parametrize(
    ("lengths", "context", "expected"),
    [
        (Lengths(), 8192, 2048),
        (Lengths(), 512, 512),
        (Lengths(48, 40), 512, 88),
        (Lengths(max_prompt_tokens=500), 512, 512),
        (Lengths(max_tokens=40), 8192, 1064),
    ],
)
def test_what_is_not_asked_for_takes_what_the_model_has(lengths, context, expected):
    assert lengths.within(context) == expected


@pytest.mark.parametrize("lengths", [Lengths(500, 20), Lengths(512), Lengths(max_tokens=600)])
def test_more_than_the_model_has_is_refused(lengths):
    with pytest.raises(ConfigError, match="must fit the model's context of 512 tokens"):
        lengths.within(512)
