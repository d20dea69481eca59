"""Tests mirror the tree: whoever changes a module finds what tests it by its name."""

from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TESTS = ROOT / "tests"
OF_ALL = ("layout", "faults", "gpu")
"""Folders of tests of the whole repository: its rules, its end by kills and attacks, and a GPU."""


def subjects(path: Path, root: Path) -> list[Path]:
    """What `test_X.py` and `test_X_ASPECT.py` may test: X, a module, a room or their own."""
    place = path.parent.relative_to(root / "tests")
    words = path.stem.removeprefix("test_").split("_")
    names = ["_".join(words[:number]) for number in range(1, len(words) + 1)]
    rooms = [room for room in (root / "rlpeft" / place, root / place) if room.is_dir()]
    beside = [room / name for room in rooms for name in names]
    modules = [module for path in beside if (module := path.with_suffix(".py")).is_file()]
    own = [room for room in rooms for name in names if name == room.name]
    return modules + [path for path in beside if path.is_dir()] + own


@pytest.mark.parametrize(
    "path",
    [p for p in sorted(TESTS.rglob("test_*.py")) if p.relative_to(TESTS).parts[0] not in OF_ALL],
    ids=lambda path: str(path.relative_to(TESTS)),
)
def test_a_test_file_is_named_by_what_it_tests(path):
    assert subjects(path, ROOT), "no module and no room of that name beside it: see `subjects`"


@pytest.mark.parametrize(
    ("file", "found"),
    [
        ("room/test_some_thing.py", "rlpeft/room/some_thing.py"),
        ("room/test_some_thing_slowly.py", "rlpeft/room/some_thing.py"),
        ("room/test_room_as_a_whole.py", "rlpeft/room"),
        ("jobs/test_work.py", "jobs/work.py"),
        ("test_room.py", "rlpeft/room"),
        ("room/test_some.py", None),
        ("room/test_nothing.py", None),
        ("test_some_thing.py", None),
    ],
)
def test_what_is_tested_is_found_by_name(tmp_path, file, found):
    for module in ("rlpeft/room/some_thing.py", "jobs/work.py"):
        (tmp_path / module).parent.mkdir(parents=True)
        (tmp_path / module).touch()
    assert subjects(tmp_path / "tests" / file, tmp_path) == ([tmp_path / found] if found else [])
