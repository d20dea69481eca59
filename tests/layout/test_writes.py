"""Files are written whole or not at all, by rlpeft/files.py alone."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

# `rewards` imports nothing of ours, and writes nothing but to its workers.
EXCEPTIONS = {
    "rlpeft/files.py": "the one place",
    "jobs/cluster/run_files.py": "writes into the folder that replacing_folder gave it",
    "rlpeft/experts/below.py": "copies an expert into a temporary folder, gone once it is read",
    "rlpeft/experts/export.py": "writes into the folder that replacing_folder gave it",
    "rlpeft/experts/export_lora.py": "writes into the folder that replacing_folder gave it",
    "rlpeft/model_checks/stage.py": "a model in a temporary folder, gone with its engine",
    "rlpeft/report/charts.py": "draws into memory",
    "rlpeft/rollout/vllm/experts.py": "an empty LoRA in a temporary folder, gone with its engine",
    "rlpeft/program/folder.py": "a lock, of which nothing is read",
}
"""Modules that may write by themselves, and why."""

PARTIAL = "partial"
"""What a path is called that `replacing` or `replacing_folder` gave: it may be written to."""

RENAMES = {"os.replace", "os.rename", "os.renames", "os.link", "shutil.move"}

WRITES = {"write_text": 0, "write_bytes": 0, "open": 0, "savefig": 1, "save_file": 2}
"""Calls that write a file, and which part of them is its path: 0 is what they are called on."""
WRITES |= {"write_table": 2, "to_csv": 1, "to_parquet": 1}


def writes(tree: ast.Module) -> Iterator[str]:
    """Calls that rename something, or write a file where it will be read."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        called = ast.unparse(node.func)
        name = called.rpartition(".")[2]
        on_something = isinstance(node.func, ast.Attribute)
        one_argument = len(node.args) == 1 and not node.keywords  # that of a text has two
        if called in RENAMES or (on_something and name in ("rename", "replace") and one_argument):
            yield called
        elif name in WRITES and (on_something or name in ("open", "save_file")):
            path = _path(node, WRITES[name] if on_something or name != "open" else 1)
            if (name != "open" or _mode(node, on_something) & {*"wx+"}) and _root(path) != PARTIAL:
                yield called


def _path(call: ast.Call, position: int) -> ast.expr:
    if position == 0:
        assert isinstance(call.func, ast.Attribute)
        return call.func.value
    return call.args[position - 1]


def _mode(call: ast.Call, on_something: bool) -> set[str]:
    """The letters of the mode that a file is opened in; `a+` of a journal only adds to it."""
    given = call.args[0 if on_something else 1 :][:1]
    given += [keyword.value for keyword in call.keywords if keyword.arg == "mode"]
    mode = str(given[0].value) if given and isinstance(given[0], ast.Constant) else "r"
    return set() if "a" in mode else set(mode)


def _root(path: ast.expr) -> str:
    while isinstance(path, ast.BinOp):
        path = path.left
    return path.id if isinstance(path, ast.Name) else ""


def found(path: Path) -> list[str]:
    return [*writes(ast.parse(path.read_text()))]


def test_nothing_is_written_or_renamed_by_hand():
    paths = [path for package in ("rlpeft", "jobs") for path in (ROOT / package).rglob("*.py")]
    by_hand = {str(path.relative_to(ROOT)): found(path) for path in paths if found(path)}
    assert {path: calls for path, calls in by_hand.items() if path not in EXCEPTIONS} == {}


def test_no_module_is_excepted_in_vain():
    assert all(found(ROOT / path) for path in EXCEPTIONS)


@pytest.mark.parametrize(
    "text",
    [
        "os.replace(a, b)",
        "path.rename(other)",
        "path.replace(other)",
        "shutil.move(a, b)",
        "(folder / 'a').write_text(text)",
        "path.open('w')",
        "open(path, 'wb')",
        "open(path, mode='x')",
        "figure.savefig(path)",
        "save_file(tensors, folder / 'a')",
        "pq.write_table(table, path)",
    ],
)
def test_what_writes_by_hand_is_found(text):
    assert len([*writes(ast.parse(text))]) == 1


@pytest.mark.parametrize(
    "text",
    [
        "text.replace('a', 'b')",
        "replace(record, step=1)",
        "when.replace(tzinfo=None)",
        "write_text(path, text)",
        "(partial / 'a').write_text(text)",
        "partial.open('w', newline='')",
        "save_file(tensors, partial / 'a')",
        "path.open()",
        "open(path, 'ab')",
        "path.open('ab+')",
    ],
)
def test_what_reads_adds_or_is_replaced_whole_is_not(text):
    assert [*writes(ast.parse(text))] == []
