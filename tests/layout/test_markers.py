"""Markers that pyproject.toml documents are on tests: none is declared in vain."""

import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_every_marker_is_on_a_test():
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["pytest"]
    names = {line.partition(":")[0] for line in declared["ini_options"]["markers"]}
    texts = [path.read_text() for path in (ROOT / "tests").rglob("test_*.py")]
    assert {name for name in names if not any(f"mark.{name}" in text for text in texts)} == set()
