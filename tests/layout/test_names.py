"""One name, one thing: no two public classes or types of ours are called the same."""

import ast
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

ALLOWED = {
    "Terms": "what the kernels of a geometric method read, the same part of each method's folder",
}
"""Names of several things, and why."""


def sources() -> dict[str, ast.Module]:
    return {
        str(path.relative_to(ROOT)): ast.parse(path.read_text())
        for package in ("rlpeft", "jobs")
        for path in sorted((ROOT / package).rglob("*.py"))
    }


def is_type(name: str) -> bool:
    """CamelCase, not a constant, a private name or the letter of a type variable."""
    return len(name) > 1 and name[0].isupper() and not name.isupper()


def defined(tree: ast.Module) -> Iterator[str]:
    """Classes and type aliases of a module."""
    for node in tree.body:
        if isinstance(node, ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.Assign):
            yield from (target.id for target in node.targets if isinstance(target, ast.Name))


def from_rewards(tree: ast.Module) -> Iterator[str]:
    """What a module takes from the package below: its readers know those names."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "rewards":
            yield from (alias.name for alias in node.names if alias.asname is None)


def shared(trees: Mapping[str, ast.Module]) -> dict[str, set[str]]:
    """Names of several things, and where these are."""
    places = defaultdict(set)
    for path, tree in trees.items():
        for name in filter(is_type, defined(tree)):
            places[name].add(path)
        for name in filter(is_type, from_rewards(tree)):
            places[name].add("rewards")
    return {name: found for name, found in places.items() if len(found) > 1}


def test_no_two_things_have_one_name():
    assert set(shared(sources())) - set(ALLOWED) == set()


@pytest.mark.slow
def test_no_name_is_allowed_in_vain():
    assert set(ALLOWED) <= set(shared(sources()))


@pytest.mark.parametrize(
    ("one", "other", "found"),
    [
        ("class Row: pass", "class Row: pass", {"Row"}),
        ("class Row: pass", "Row = dict[str, str]", {"Row"}),
        ("class Verdict: pass", "from rewards.verdict import Verdict", {"Verdict"}),
        ("class Row: pass", "from rlpeft.a import Row", set()),
        ("class _Row: pass", "class _Row: pass", set()),
        ("T = TypeVar('T')\nROWS = 1", "T = TypeVar('T')\nROWS = 2", set()),
    ],
)
def test_a_name_of_two_things_is_found(one, other, found):
    assert set(shared({"a": ast.parse(one), "b": ast.parse(other)})) == found
