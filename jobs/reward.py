"""Verify predictions that already exist, row by row."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rewards.golds import GoldRule, gold_text, several_types, text_types
from rewards.plugins import load
from rewards.registry import is_verifier, runs_programs
from rewards.several import verify_several
from rewards.verdict import Verdict, VerdictKind, count_kinds
from rewards.verify import verify_batch
from rlpeft.errors import DataError
from rlpeft.tasks.formats import read_rows

_CHUNK_ROWS = 4096


@dataclass(frozen=True, slots=True)
class ScoredFile:
    """Verdicts of a file of predictions.

    Attributes:
        rows: one JSON object a row: `id`, `kind`, `score`, `extracted`, `reason`.
        totals: rows by verdict kind, all kinds named.
        seconds: wall time of the verification, start of workers included.
    """

    rows: list[dict[str, Any]]
    totals: dict[str, int]
    seconds: float

    @property
    def summary(self) -> dict[str, Any]:
        """Totals, mean score of the scored rows, and rows per second."""
        scores = [row["score"] for row in self.rows if row["score"] is not None]
        return {
            "rows": len(self.rows),
            "totals": self.totals,
            "mean_score": sum(scores) / len(scores) if scores else None,
            "rows_per_s": len(self.rows) / self.seconds,
        }


def score_file(path: Path, *, kind: str, options: Mapping[str, Any]) -> ScoredFile:
    """Verify each row's `prediction` against its `gold`.

    A row whose `prediction` or `gold` is null is unscorable: nothing is known of that answer.

    Args:
        options: of the verifier; `several` reads a list as several right answers.

    Raises:
        DataError: no such file, no rows, or a row without usable `gold` and `prediction`.
        RewardError: an unknown kind or option.
    """
    if not path.is_file():
        raise DataError(f"the file of predictions must exist, got {str(path)!r}.")
    if is_verifier(kind):
        load(kind, options)  # names an option that the verifier does not take
    table = read_rows(path, any_text=True)
    several = bool(options.get("several"))
    chosen = {name: value for name, value in options.items() if name != "several"}
    rule = GoldRule(kind, "gold", several_types(kind) if several else text_types(kind))
    predictions = [_prediction(row, path, n) for n, row in enumerate(table, start=1)]
    golds = [_gold(row, rule, path, n) for n, row in enumerate(table, start=1)]
    verify = verify_several if several else verify_batch
    known = [n for n, p in enumerate(predictions) if p is not None and golds[n] is not None]
    verdicts = [_missing(row) for row in table]
    start = time.perf_counter()
    for low in range(0, len(known), _CHUNK_ROWS):
        chunk = known[low : low + _CHUNK_ROWS]
        texts = [predictions[n] or "" for n in chunk]
        cuts = [_is_cut(table[n], path, n + 1) for n in chunk]
        found = verify(texts, [golds[n] for n in chunk], truncated=cuts, kind=kind, **chosen)
        for number, verdict in zip(chunk, found, strict=True):
            verdicts[number] = verdict
    seconds = time.perf_counter() - start
    rows = [
        {"id": row.get("id", number)} | _plain(verdict)
        for number, (row, verdict) in enumerate(zip(table, verdicts, strict=True))
    ]
    return ScoredFile(rows, _totals(verdicts), seconds)


def _missing(row: Mapping[str, Any]) -> Verdict:
    name = "prediction" if row.get("prediction") is None else "gold"
    return Verdict(None, VerdictKind.UNSCORABLE, f"{name} is null")


def _prediction(row: Mapping[str, Any], path: Path, number: int) -> str | None:
    value = _present(row, "prediction", path, number)
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return str(value)
    if value is not None and not isinstance(value, str):
        raise _wrong_field(row, "prediction", path, number)
    return value


def _gold(row: Mapping[str, Any], rule: GoldRule, path: Path, number: int) -> Any:
    value = _present(row, "gold", path, number)
    if runs_programs(rule.reward) and isinstance(value, (list, dict)):
        is_program = isinstance(value, list) and all(isinstance(x, str) for x in value)
        return "\n".join(value) if is_program else json.dumps(value)
    if fault := rule.fault(value):
        mend = "Set --option several=true where a list holds several right answers."
        raise DataError(f"{str(path)!r} row {number}: {fault}. {mend}")
    return value if value is None or isinstance(value, list) else gold_text(value)


def _is_cut(row: Mapping[str, Any], path: Path, number: int) -> bool:
    value = row.get("truncated", False)
    if not isinstance(value, str):
        return bool(value)
    if (word := value.strip().casefold()) not in ("true", "false", "1", "0", ""):  # of a CSV
        raise DataError(
            f"{str(path)!r} row {number} must have true or false as 'truncated', got {value!r:.60}."
        )
    return word in ("true", "1")


def _present(row: Mapping[str, Any], name: str, path: Path, number: int) -> Any:
    if name not in row:
        raise _wrong_field(row, name, path, number)
    return row[name]


def _wrong_field(row: Mapping[str, Any], name: str, path: Path, number: int) -> DataError:
    return DataError(
        f"{str(path)!r} row {number} must have a text {name!r}, got {row.get(name)!r:.60}; its "
        f"columns are {sorted(row)}. Each row needs 'gold' and 'prediction'."
    )


def _plain(verdict: Verdict) -> dict[str, Any]:
    return asdict(verdict) | {"kind": verdict.kind.value}


def _totals(verdicts: Sequence[Verdict]) -> dict[str, int]:
    return count_kinds(verdict.kind for verdict in verdicts)
