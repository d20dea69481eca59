"""Bases with experts merged into them are kept, counted and removed."""

import pytest

from rlpeft.models.merged import clear_merged, merged_home, merged_sizes


@pytest.fixture
def home(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return merged_home()


def test_none_are_kept_where_none_was_made(home):
    assert merged_sizes() == clear_merged() == {}
    assert not home.exists()


def test_all_are_removed_and_told_with_their_sizes(home):
    for name, size in (("a-float32", 3), (".partial-b", 4)):
        (home / name).mkdir(parents=True)
        (home / name / "model.safetensors").write_bytes(bytes(size))
    found = merged_sizes()
    assert sorted(found.values()) == [3, 4]
    assert clear_merged() == found
    assert merged_sizes() == {}
