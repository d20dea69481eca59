"""A cache with room: what transformers' own holds, without copying it for every token."""

import pytest
import torch
from transformers import DynamicCache, Gemma3TextConfig, LlamaConfig
from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer

from rlpeft.rollout.hf.roomy_cache import ROOM, RoomyLayer, roomy_cache

ROWS, HEADS, SIZE = 3, 2, 4


def tokens(count: int, *, rows: int = ROWS, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    # As attention makes them: heads and tokens transposed, so not contiguous.
    keys = torch.randn(rows, count, HEADS, SIZE, generator=generator).transpose(1, 2)
    return keys, keys + 1


def both(room: int) -> tuple[RoomyLayer, DynamicLayer]:
    return RoomyLayer(room), DynamicLayer()


def assert_same(ours: RoomyLayer, theirs: DynamicLayer) -> None:
    assert torch.equal(ours.keys, theirs.keys)
    assert torch.equal(ours.values, theirs.values)
    assert ours.get_seq_length() == theirs.get_seq_length()


@pytest.mark.parametrize("room", [1, 3, ROOM])
def test_it_holds_what_the_dynamic_cache_holds(room: int) -> None:
    ours, theirs = both(room)
    for step, count in enumerate([5, 1, 1, 1, 2, 1]):
        for layer in (ours, theirs):
            layer.update(*tokens(count, seed=step))
    assert_same(ours, theirs)


@pytest.mark.parametrize("change", ["select", "repeat", "reorder", "crop"])
def test_rows_that_are_changed_by_others_go_on_alike(change: str) -> None:
    ours, theirs = both(8)
    rows = {"select": 2, "repeat": 2 * ROWS}.get(change, ROWS)
    for layer in (ours, theirs):
        layer.update(*tokens(4))
        layer.update(*tokens(1, seed=1))
        match change:
            case "select":
                layer.batch_select_indices(torch.tensor([2, 0]))
            case "repeat":
                layer.batch_repeat_interleave(2)
            case "reorder":
                layer.reorder_cache(torch.tensor([2, 0, 1]))
            case "crop":
                layer.crop(-2)
        layer.update(*tokens(1, rows=rows, seed=2))
        layer.update(*tokens(1, rows=rows, seed=3))
    assert_same(ours, theirs)


def test_a_token_moves_nothing_before_it_while_there_is_room() -> None:
    layer = RoomyLayer(room=2)
    layer.update(*tokens(3))
    addresses = []
    for step in range(3):
        layer.update(*tokens(1, seed=step))
        addresses.append(layer.keys.data_ptr())
    assert addresses[0] == addresses[1] != addresses[2]


def test_a_cache_that_is_reset_begins_anew() -> None:
    layer = RoomyLayer(room=2)
    layer.update(*tokens(3))
    layer.reset()
    layer.update(*tokens(1, rows=1))
    assert layer.keys.shape == (1, HEADS, 1, SIZE)


def test_room_is_no_more_than_will_be_needed() -> None:
    few, many = (roomy_cache(LlamaConfig(num_hidden_layers=1), n).layers[0] for n in (8, 1000))
    assert (few.room, many.room) == (8, ROOM)


def test_layers_with_a_window_stay_those_of_transformers() -> None:
    config = Gemma3TextConfig(
        num_hidden_layers=2, layer_types=["sliding_attention", "full_attention"]
    )
    kinds = [type(layer) for layer in roomy_cache(config, 8).layers]
    assert kinds == [DynamicSlidingWindowLayer, RoomyLayer]
    assert [type(layer) for layer in DynamicCache(config=config).layers] == [
        DynamicSlidingWindowLayer,
        DynamicLayer,
    ]
