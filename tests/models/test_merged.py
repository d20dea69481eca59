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


def test_a_link_is_removed_and_what_it_leads_to_stays(home, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "model.safetensors").write_bytes(bytes(5))
    home.mkdir(parents=True)
    (home / "a-float32").symlink_to(elsewhere)
    (home / "b-float32").symlink_to(tmp_path / "gone")
    assert clear_merged() == {home / "a-float32": 0, home / "b-float32": 0}
    assert list(home.iterdir()) == []
    assert (elsewhere / "model.safetensors").is_file()
