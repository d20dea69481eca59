"""One HTML file that tells a whole run: curves, verdicts, completions, what the expert changed.

It needs nothing but itself: pictures lie in the page, and its own policy forbids it to fetch or
run anything. Completions are what a model wrote, so they are escaped, their invisible characters
are shown, and long ones are cut.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from rewards.verdict import VerdictKind
from rlpeft.errors import DataError
from rlpeft.experts.card_parts import with_merged
from rlpeft.experts.files import CARD_FILE, EXPERT_FOLDER, Expert, ExpertCard, load_expert
from rlpeft.experts.measures import ITSELF, shown_difference
from rlpeft.experts.summary import read_summary
from rlpeft.files import read_json, write_text
from rlpeft.recipe.task import task_called
from rlpeft.report.answers import examples, visible
from rlpeft.report.charts import VERDICT_COLOURS, StepRows
from rlpeft.report.run_charts import answer_charts, change_of, learning_charts, trust_charts
from rlpeft.report.thumbnails import thumbnails
from rlpeft.report.tokens import legend
from rlpeft.runs.fingerprint import REPORT_FILE
from rlpeft.runs.records import RECIPE_FILE, require_metrics
from rlpeft.tokens.pieces import LEGEND

TEMPLATES = Path(__file__).parent


def write_report(folder: Path, path: Path | None = None) -> Path:
    """Write the page of a run, finished or not.

    Args:
        path: where to; absent: `report.html` in its folder.

    Raises:
        DataError: the folder holds no records of a run, or damaged ones.
    """
    path = path or folder / REPORT_FILE
    write_text(path, render(folder, *read_run(folder)))
    return path


Records = tuple[StepRows, Expert | None, dict[str, Any], dict[str, Any]]
"""Of a run: its metrics, its best expert if one is kept, its recipe, its summary."""


def read_run(folder: Path) -> Records:
    """The records of a run; recipe and summary are empty where there are none.

    Raises:
        DataError: it has no metrics, or damaged records.
    """
    rows = require_metrics(folder)
    expert = load_expert(folder / EXPERT_FOLDER) if _has_expert(folder) else None
    return rows, expert, _read_json(folder / RECIPE_FILE), read_summary(folder) or {}


def _has_expert(folder: Path) -> bool:
    return (folder / EXPERT_FOLDER / CARD_FILE).exists()


def page_environment() -> Environment:
    """What pages are rendered by: all that records say is escaped."""
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined
    )
    environment.filters |= {"visible": visible, "thumbnails": thumbnails}
    environment.globals["shown_difference"] = shown_difference
    return environment


def render(
    folder: Path,
    rows: StepRows,
    expert: Expert | None,
    recipe: Mapping[str, Any],
    summary: Mapping[str, Any],
    live: Mapping[str, Any] | None = None,
) -> str:
    """The page.

    Args:
        live: how it keeps up with its run; see `rlpeft.report.live`.
    """
    card = expert.card if expert else None
    return (
        page_environment()
        .get_template("page.html.jinja")
        .render(
            name=card.name if card else folder.name,
            card=card.model_dump(mode="json") if card else None,
            base=with_merged("Base", card.merged) if card else "",
            base_model=with_merged(card.base_model, card.merged) if card else "",
            tasks=" and ".join(map(task_called, card.sections)) if card else "",
            accuracies=accuracies(card),
            facts=facts(rows, summary, card),
            learning=learning_charts(rows),
            trust=trust_charts(rows),
            answers=answer_charts(rows, folder, card),
            verdicts=verdict_totals(rows),
            change=change_of(expert),
            examples=examples(folder, card),
            differences=differences(card),
            legend=legend(),
            marks=LEGEND,
            recipe=_pretty(recipe),
            card_text=_pretty(card.model_dump(mode="json")) if card else "none yet",
            live=live,
        )
    )


def _read_json(path: Path) -> dict[str, Any]:
    return read_json(path, DataError, mend="Delete it.") if path.exists() else {}


def _pretty(tree: Mapping[str, Any]) -> str:
    return json.dumps(tree, indent=2, ensure_ascii=False)


def accuracies(card: ExpertCard | None) -> list[tuple[str, Any]]:
    """Labelled accuracies, or mean scores, that are known, those of the test split first."""
    if card is None:
        return []
    base = with_merged("base", card.merged)
    known = {
        f"{base}, test": card.base_test,
        "start, test": card.start_test,
        "expert, test": card.test,
        "expert, validation": card.validation,
    }
    for label, part in card.tasks.items():
        own = {base: part.base_test, "start": part.start_test, "expert": part.test}
        known |= {f"{who}, test, {label} alone": found for who, found in own.items()}
    return [(label, accuracy) for label, accuracy in known.items() if accuracy is not None]


def differences(card: ExpertCard | None) -> list[str]:
    """What the test says of the expert beside its base and its start, a sentence each."""
    if card is None:
        return []
    if card.equals_base:
        return [ITSELF]
    base = with_merged("its base", card.merged)
    known = {base: card.against_base, "its start": card.against_start}
    said = [found.said(called) for called, found in known.items() if found is not None]
    parts = {label: part.against_base for label, part in card.tasks.items()}
    return said + [f"{label}: {own.said(base)}" for label, own in parts.items() if own is not None]


def facts(rows: StepRows, summary: Mapping[str, Any], card: ExpertCard | None) -> dict[str, str]:
    """The run in a few words."""
    found = {"steps": f"{rows[-1]['step']:,}"}
    if card:
        base = with_merged("base model", card.merged)
        equal = f" (the expert is the {base}: no step did better)" * card.equals_base
        equal = equal or " (it is where it started: no step did better)" * card.equals_start
        found["best step"] = f"{card.step:,}{equal}"
    if summary.get("teaching_groups") is not None:
        found["answer groups that taught"] = f"{summary['teaching_groups']:.0%}"
    if "trainable_parameters" in summary:
        found["trainable parameters"] = f"{summary['trainable_parameters']:,}"
    timed = {"sync/bytes", "sync/seconds"}
    synced = [row for row in rows if all(row.get(name) is not None for name in timed)]
    if synced:
        seconds = sorted(row["sync/seconds"] for row in synced)
        found["bytes per sync"] = f"{synced[-1]['sync/bytes']:,.0f}"
        found["ms per sync, median"] = f"{1e3 * seconds[len(seconds) // 2]:.1f}"
    times = [row["step_time"] for row in rows if row.get("step_time") is not None]
    if times:
        found["s per step, mean"] = f"{sum(times) / len(times):.2f}"
    found |= ahead_facts(rows)
    tokens = [row.get("num_tokens") or 0 for row in rows]
    if any("mean_token_accuracy" in row for row in rows):  # TRL counts from the run's start on
        return found | {"tokens, those of prompts too": f"{max(tokens):,.0f}"}
    return found | {"completion tokens": f"{sum(tokens):,.0f}"}


def ahead_facts(rows: StepRows) -> dict[str, str]:
    """How far steps were generated ahead, who waited for whom, and what a step is bound by."""
    names = ("perf/rollout_s", "perf/learner_s", "perf/learner_idle_s", "perf/engine_idle_s")
    needed = (*names, "step_time", "sample/staleness_max")
    ahead = [row for row in rows if all(row.get(name) is not None for name in needed)]
    if not ahead:
        return {}
    generate, learn, *idle = (sum(row[name] for row in ahead) / len(ahead) for name in names)
    step = sum(row["step_time"] for row in ahead) / len(ahead)
    lag = max(row["sample/staleness_max"] for row in ahead)
    slower = "generating" if generate > learn else "learning"
    return {
        "versions behind the learner": f"{lag:.0f}",
        "learner and engines idle": " and ".join(f"{seconds / step:.0%}" for seconds in idle),
        "a step is bound by": f"{slower} ({generate:.2f} s of rollout beside {learn:.2f} s of "
        "learner)",
    }


def verdict_totals(rows: StepRows) -> list[tuple[str, int, float]]:
    """Kind, count and share over the whole run."""
    counts = {
        kind: int(sum(row.get(f"verdicts/{kind}") or 0 for row in rows)) for kind in VERDICT_COLOURS
    }
    total = sum(counts.values())
    shown = [kind for kind in counts if counts[kind] or kind != VerdictKind.GRADED]
    return [(kind, counts[kind], counts[kind] / total) for kind in shown] if total else []
