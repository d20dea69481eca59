"""What a run's folder is of: never a stranger's, nor another set-up's.

Nothing here needs torch: who has named a wrong folder is told before libraries are loaded.
"""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from rlpeft.errors import CheckpointError, ConfigError
from rlpeft.files import PARTIAL, REPLACED, plain_errors, read_json, write_json
from rlpeft.regular import refuse_url
from rlpeft.runs.driver import LOCK_FILE
from rlpeft.runs.reward_code import module_file
from rlpeft.terminal import near_path

FINGERPRINT_FILE, SUMMARY_FILE = "fingerprint.json", "summary.json"
REPORT_FILE = "report.html"

TOKENIZER, REWARD_CODE, DATA = "tokenizer", "reward_code", "data"
"""In a fingerprint: what decides tokens and prompts (`rlpeft.models.tokenizer_digest`), and what
judges completions (`rlpeft.runs.reward_code`)."""

RECORD_FILE = "search.json"
"""What the CEM service writes about a search, before the search begins."""

ROWS_FOLDER = "given_rows"
"""Rows that a run was given as objects, which `rlpeft.train` writes before the run begins."""

MEND = "Restore it, or start anew in another --out."
"""Of a set-up that has changed, or of its damaged file."""

SHOWN = 3
"""Names of a stranger's files that an error quotes."""


def refuse_strangers(out: Path) -> None:
    """Refuse a URL, and a folder that holds something and is not marked as a run's.

    Raises:
        ConfigError: it is a URL.
        CheckpointError: it names some of what is there.
    """
    refuse_url(out)
    with plain_errors(out):
        if not out.is_dir() or (out / FINGERPRINT_FILE).is_file():
            return
        ours = (PARTIAL, REPLACED, LOCK_FILE, RECORD_FILE, ROWS_FOLDER)
        found = sorted(path.name for path in out.iterdir() if not path.name.startswith(ours))
    if found:
        more = f" and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
        raise CheckpointError(
            f"a run's folder must be new or empty, or hold a run (with {FINGERPRINT_FILE}); "
            f"{str(out)!r} holds {', '.join(found[:SHOWN])}{more}. Choose another folder."
        )


def refuse_other_than(names: Collection[str], out: Path) -> None:
    """Refuse a URL, and a folder, for the runs of several experts, that is something else's.

    Args:
        names: of the experts.

    Raises:
        ConfigError: it is a URL, or an expert is called as what marks a folder as a run's.
        CheckpointError: it says what is there.
    """
    refuse_url(out)
    if marks := sorted({FINGERPRINT_FILE, SUMMARY_FILE, REPORT_FILE, RECORD_FILE} & {*names}):
        raise ConfigError(
            f"the name of an [[expert]] must be no file's of a run, {marks[0]!r} is one: its "
            "folder would lie where that file is looked for. Give it another name."
        )
    with plain_errors(out):
        if not out.is_dir() or any((out / name / FINGERPRINT_FILE).is_file() for name in names):
            return
        found = sorted(path.name for path in out.iterdir() if path.name not in names)
    if found:
        is_run = FINGERPRINT_FILE in found
        held = f"is the run of one (with {FINGERPRINT_FILE})" if is_run else f"holds {found[0]}"
        raise CheckpointError(
            "--out must be a new or empty folder, or one with the runs of these experts; "
            f"{str(out)!r} {held}. Choose another --out."
        )


def read_fingerprint(run: Path) -> dict[str, Any]:
    """What the run in this folder was started with; empty where there is no run.

    Raises:
        CheckpointError: it is damaged.
    """
    path = run / FINGERPRINT_FILE
    if not os.path.isfile(path):  # not `Path.is_file`, which raises of a path that is too long
        return {}
    stored = read_json(path, CheckpointError, mend=MEND)
    recipe = stored.get("recipe", {})
    parts = {"recipe": recipe, REWARD_CODE: stored.get(REWARD_CODE, {})}
    if isinstance(recipe, dict):
        parts["recipe.adapter"] = recipe.get("adapter", {})
    for name, part in parts.items():
        if not isinstance(part, dict):
            raise CheckpointError(
                f"{str(path)!r} must hold what its run was started with, its {name} is "
                f"{part!r:.60}. {MEND}"
            )
    return stored


def check_fingerprint(
    run: Path, fingerprint: Mapping[str, Any], *, anew: bool = False
) -> list[str]:
    """Write the fingerprint of a new run, or compare it with that of the run being continued.

    Args:
        anew: nothing is lost if the run there is not continued.

    Returns:
        What the run's fingerprint could not be held to, since an earlier version wrote it.

    Raises:
        CheckpointError: they differ; the message names every difference.
    """
    path = run / FINGERPRINT_FILE
    if anew or not path.exists():
        write_json(path, fingerprint, sort_keys=True)
        return []
    stored = read_fingerprint(run)
    # Runs of before version 0.2 do not say by which method they train, nor by which tokenizer, nor
    # which code judges them.
    since = ("method", TOKENIZER, REWARD_CODE)
    former = {name: fingerprint.get(name) for name in since if name in fingerprint}
    unknown = [name for name in since[1:] if name in former and name not in stored]
    stored = former | stored
    refuse_other(run, stored, fingerprint)
    return unknown


def refuse_other(
    run: Path, stored: Mapping[str, Any], asked: Mapping[str, Any], *, which: str = ""
) -> None:
    """Refuse to continue a run under another set-up.

    Args:
        stored, asked: fingerprints, or the same parts of both.
        which: of problems that have changed, what is known of them.

    Raises:
        CheckpointError: they differ; the message names every difference.
    """
    if (method := asked.get("method")) != stored.get("method"):
        raise CheckpointError(
            f"run {str(run)!r} was started by `rlpeft {stored['method']}`, this is `rlpeft "
            f"{method}`. Choose another folder."
        )
    if REWARD_CODE in stored:  # a fingerprint without code of a user's does not have this part
        asked = {REWARD_CODE: {}, **asked}
    environments = {*_environments(stored), *_environments(asked)}
    differences = [
        _difference(key, before, now, which, environments)
        for key, before, now in _differences(stored, json.loads(json.dumps(asked)))
    ]
    if differences:
        raise CheckpointError(
            f"run {str(run)!r} was started with another set-up: {'; '.join(differences)}. {MEND}"
        )


def _differences(before: Any, now: Any, key: str = "") -> list[tuple[str, Any, Any]]:
    if isinstance(before, dict) and isinstance(now, dict):
        return [
            difference
            for name in sorted(before.keys() | now.keys())
            for difference in _differences(
                before.get(name), now.get(name), f"{key}.{name}".lstrip(".")
            )
        ]
    # As text: NaN does not equal itself.
    same = json.dumps(before, sort_keys=True) == json.dumps(now, sort_keys=True)
    return [] if same else [(key, before, now)]


def _environments(fingerprint: Any) -> Iterator[str]:
    """Names of those that its recipes have."""
    for key, value in fingerprint.items() if isinstance(fingerprint, Mapping) else ():
        if key == "environment" and isinstance(value, Mapping):
            yield str(value.get("name"))
        yield from _environments(value)


def _difference(key: str, before: Any, now: Any, which: str, environments: Collection[str]) -> str:
    """One difference for a person, to whom digests tell nothing."""
    if key.startswith(f"{REWARD_CODE}."):
        name = key.partition(".")[2]
        kind = "environment" if name in environments else "reward"
        path = module_file(name.partition(":")[0]) if ":" in name else None
        if before is None:
            return f"the code of {kind} {name!r} is used now, and was not when the run began"
        if now is None:
            return f"the code of {kind} {name!r} was used when the run began, and is not now"
        file = "" if path is None else f" {near_path(str(path))!r}"
        return f"the file{file} with the code of {kind} {name!r} has changed"
    if key.startswith(f"{DATA}.") or key == DATA or key.endswith(f".{DATA}"):
        task = key.removeprefix(f"{DATA}.") if key.startswith(f"{DATA}.") else ""
        of_task = f" of task {task!r}" if task else ""
        told = f" ({which})" if which else ""
        return f"the problems{of_task} have changed{told}: rows, prompts, or how they are divided"
    return f"{key} was {before!r}, is {now!r}"
