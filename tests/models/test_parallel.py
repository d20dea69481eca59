"""Which numbers of workers can share a base model."""

from types import SimpleNamespace

import pytest

from rlpeft.errors import ConfigError
from rlpeft.models.parallel import require_divisible


def config(heads=4, kv_heads=2, width=24, **others):
    text = SimpleNamespace(
        num_attention_heads=heads, num_key_value_heads=kv_heads, intermediate_size=width, **others
    )
    return SimpleNamespace(get_text_config=lambda: text)


@pytest.mark.parametrize(
    ("shape", "workers"),
    [({}, 1), ({}, 2), ({}, 4), ({"kv_heads": 1}, 4), ({"heads": 9, "kv_heads": 3}, 3)],
)
def test_workers_share_heads_evenly_or_several_hold_one(shape, workers):
    require_divisible(config(**shape), workers)


@pytest.mark.parametrize(
    ("shape", "workers", "said"),
    [
        ({}, 3, "3 does not divide 4 attention heads and 2 heads of keys.*Set it to 1, 2 or 4"),
        ({"heads": 9, "kv_heads": 3}, 2, "9 attention heads and 3 heads.*Set it to 1 or 3"),
        ({"width": 6}, 4, "4 does not divide intermediate_size = 6.*Set it to 1 or 2"),
        ({"moe_intermediate_size": 5}, 2, "moe_intermediate_size = 5"),
        ({"heads": 12, "kv_heads": 4}, 6, "6 does not divide 4 heads of keys"),
    ],
)
def test_what_cannot_be_shared_is_named_with_what_can(shape, workers, said):
    with pytest.raises(ConfigError, match=said):
        require_divisible(config(**shape), workers)
