"""Markers that pyproject.toml documents are on tests: where they belong, and none in vain."""

import ast
import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TESTS = ROOT / "tests"

STARTS = {
    "ray": re.compile(r"\bray\.init\(|\bconnected\(None\)"),
    "vllm": re.compile(r"\bVllmEngine\(|\bLLM\(|\bStage\(\w+, .vllm.\)"),
}
"""What starts one, in a test or in what it uses."""

STARTS_NONE = {
    "test_a_node_that_is_slow_to_start_is_told_in_one_line": "another function stands for ray.init",
    "test_actors_of_a_cluster_that_is_started_give_way_to_nobody_unless_they_shall": "the same",
    "test_a_token_that_the_cluster_does_not_take_is_told_as_that_and_alone": "the same",
}
"""Tests in which that starts nothing, and why."""

Named = Mapping[str, ast.stmt]


def named(tree: ast.Module) -> Named:
    """Functions, fixtures and constants of a module by their names."""
    found: dict[str, ast.stmt] = {}
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found[node.name] = node
        elif isinstance(node, ast.Assign):
            found |= {name.id: node for name in node.targets if isinstance(name, ast.Name)}
    return found


def used(node: ast.AST) -> Iterator[str]:
    """Names that code uses: of variables, of arguments, which are fixtures, and in decorators."""
    for part in ast.walk(node):
        if isinstance(part, ast.Name):
            yield part.id
        elif isinstance(part, ast.arg):
            yield part.arg
        elif isinstance(part, ast.Constant) and isinstance(part.value, str):
            yield part.value


def text_of(test: ast.stmt, known: Named) -> str:
    """A test's own code, with that of all that it uses of a module and of conftests."""
    left, texts = [test], {}
    while left:
        node = left.pop()
        texts[id(node)] = ast.unparse(node)
        found = (known[name] for name in used(node) if name in known)
        left += (node for node in found if id(node) not in texts)
    return "\n".join(texts.values())


def unmarked(tree: ast.Module, shared: Named) -> Iterator[tuple[str, str]]:
    """Tests that start something, each with the marker that it lacks."""
    own = named(tree)
    everywhere = ast.unparse(own["pytestmark"]) if "pytestmark" in own else ""
    for name, node in own.items():
        if not name.startswith("test_") or name in STARTS_NONE:
            continue
        marks = everywhere + " ".join(map(ast.unparse, getattr(node, "decorator_list", ())))
        text = text_of(node, {**shared, **own})
        for mark, start in STARTS.items():
            if start.search(text) and f"mark.{mark}" not in marks:
                yield name, mark


def test_every_marker_is_on_a_test():
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["pytest"]
    names = {line.partition(":")[0] for line in declared["ini_options"]["markers"]}
    texts = [path.read_text() for path in TESTS.rglob("test_*.py")]
    assert {name for name in names if not any(f"mark.{name}" in text for text in texts)} == set()


@pytest.mark.slow
def test_what_starts_ray_or_vllm_is_marked():
    parsed = {path: ast.parse(path.read_text()) for path in TESTS.rglob("*.py")}
    for path, tree in parsed.items():
        above = [
            named(parsed[c]) for c in parsed if c.name == "conftest.py" and c.parent in path.parents
        ]
        shared = {name: node for each in above for name, node in each.items()}
        if path.name.startswith("test_") and path != Path(__file__):  # which holds such code
            assert [*unmarked(tree, shared)] == [], path


@pytest.mark.parametrize(
    ("code", "found"),
    [
        ("def test_a(): ray.init()", [("test_a", "ray")]),
        ("def test_a(cluster): pass", [("test_a", "ray")]),
        ("@pytest.mark.usefixtures('cluster')\ndef test_a(): pass", [("test_a", "ray")]),
        ("CODE = 'with connected(None): pass'\ndef test_a(): run(CODE)", [("test_a", "ray")]),
        ("def made(): return VllmEngine()\ndef test_a(): made()", [("test_a", "vllm")]),
        ("@pytest.mark.ray\ndef test_a(cluster): pass", []),
        ("pytestmark = pytest.mark.ray\ndef test_a(cluster): pass", []),
        ("def test_a(): engine()", []),
    ],
)
def test_a_test_that_lacks_its_marker_is_found(code, found):
    shared = named(ast.parse("def cluster():\n    ray.init()"))
    assert [*unmarked(ast.parse(code), shared)] == found
