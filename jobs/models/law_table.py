"""Make the tables of rlpeft/models/README.md from what `rlpeft models check` printed.

python -m jobs.models.law_table SmolLM2=smollm2.json Qwen2.5=qwen.json … > table.md
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

SHORT = {
    "holds": "holds",
    "does not hold": "**no**",
    "does not apply": "–",
    "refused": "refused",
    "could not be checked": "?",
}


def table(documents: Mapping[str, Mapping[str, Any]]) -> str:
    """A row for each law, a column for each model.

    Args:
        documents: what the command printed, by the models' names.
    """
    names = list(documents)
    found = {name: verdicts(documents[name]["laws"]) for name in names}
    laws = dict.fromkeys(law for name in names for law in found[name])
    lines = [_line(["law", *names]), _line(["---"] * (len(names) + 1))]
    lines += [_line([law, *(found[name].get(law, "–") for name in names)]) for law in laws]
    return "\n".join(lines)


def verdicts(laws: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """How each law of a model came out, in the table's words."""
    return {_name(law): SHORT[law["verdict"]] for law in laws}


def _name(law: Mapping[str, Any]) -> str:
    return law["law"] if law["engine"] is None else f"{law['law']} ({law['engine']})"


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def read_table(text: str) -> dict[str, dict[str, str]]:
    """The first table of a text back: verdicts by law, by model."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    width = len(rows[0])
    rows = [row for row in rows if len(row) == width]
    return {
        name: {row[0]: row[column] for row in rows[2:]}
        for column, name in enumerate(rows[0])
        if column
    }


def main() -> None:
    """Print the table of the files that are named."""
    pairs = (argument.partition("=") for argument in sys.argv[1:])
    print(table({name: json.loads(Path(file).read_text()) for name, _, file in pairs}))


if __name__ == "__main__":
    main()
