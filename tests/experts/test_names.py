"""Experts that work together are told apart by their names."""

import pytest

from rlpeft.errors import ExpertError
from rlpeft.experts.names import require_own_names
from rlpeft.files import read_json, write_json


def test_of_two_that_are_called_the_same_both_are_named_and_where_to_rename_one(
    tiny_experts, tmp_path
):
    up, down = (tiny_experts / name for name in ("up", "down"))
    require_own_names([up, down])
    other = tmp_path / "other"
    other.mkdir()
    write_json(other / "card.json", read_json(up / "card.json"))
    with pytest.raises(ExpertError, match=r"two are called 'up'.*name.*other/card\.json"):
        require_own_names([up, down, other])
