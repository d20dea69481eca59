"""One HTML file that tells a whole run: curves, verdicts, completions, what the expert changed.

It needs nothing but itself: pictures lie in the page, and its own policy forbids it to fetch or
run anything. Completions are what a model wrote, so they are escaped, their invisible characters
are shown, and long ones are cut.
"""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from rewards.verdict import VerdictKind
from rlpeft import charts
from rlpeft.charts import FAINT, ORANGE, VERDICT_COLOURS, Rows
from rlpeft.compare import KindStats, changes, kind_stats
from rlpeft.errors import DataError, RlpeftError
from rlpeft.evaluate import UNREAD
from rlpeft.experts import CARD_FILE, EXPERT_FOLDER, Expert, ExpertCard, load_expert
from rlpeft.files import read_json, write_text
from rlpeft.measures import Accuracy
from rlpeft.metrics import (
    RECIPE_FILE,
    completions_path,
    completions_steps,
    read_completions,
    read_metrics,
)

REPORT_FILE, SUMMARY_FILE = "report.html", "summary.json"
ASSETS = Path(__file__).parent / "assets"

NUM_PROBLEMS, NUM_COMPLETIONS = 5, 4
"""How much of a step is shown: problems, and completions of each."""

HEAD, TAIL = 1000, 500
"""Characters shown of a longer text: its start, and its end where the answer stands."""


@dataclass(frozen=True)
class Chart:
    """One picture with its words."""

    title: str
    caption: str
    uri: str | None
    wide: bool = False


@dataclass(frozen=True)
class Change:
    """What the expert changed, or why that cannot be shown."""

    charts: Sequence[Chart]
    kinds: Sequence[KindStats]
    refusal: str = ""


@dataclass(frozen=True)
class Examples:
    """Some completions of one step, by problem."""

    title: str
    problems: Sequence[Sequence[Mapping[str, Any]]]


def write_report(folder: Path) -> Path:
    """Write `report.html` of a run, finished or not, into its folder.

    Raises:
        DataError: the folder holds no records of a run.
    """
    rows = read_metrics(folder)
    if not rows:
        raise DataError(
            f"a report needs a run folder with metrics.jsonl, {str(folder)!r} has none or an "
            "empty one. Name the folder that `rlpeft train` wrote."
        )
    expert = load_expert(folder / EXPERT_FOLDER) if _has_expert(folder) else None
    page = render(folder, rows, expert)
    path = folder / REPORT_FILE
    write_text(path, page)
    return path


def _has_expert(folder: Path) -> bool:
    return (folder / EXPERT_FOLDER / CARD_FILE).exists()


def render(folder: Path, rows: Rows, expert: Expert | None) -> str:
    """The page."""
    environment = Environment(
        loader=FileSystemLoader(ASSETS), autoescape=True, undefined=StrictUndefined
    )
    environment.filters["visible"] = visible
    card = expert.card if expert else None
    return environment.get_template("report.html.jinja").render(
        name=card.name if card else folder.name,
        card=card.model_dump(mode="json") if card else None,
        accuracies=accuracies(card),
        facts=facts(rows, _read_json(folder / SUMMARY_FILE), card),
        learning=learning_charts(rows),
        trust=trust_charts(rows),
        answers=answer_charts(rows, folder, card),
        verdicts=verdict_totals(rows),
        change=change_of(expert),
        examples=examples(folder, card),
        recipe=_pretty(_read_json(folder / RECIPE_FILE)),
        card_text=_pretty(card.model_dump(mode="json")) if card else "none yet",
    )


def _read_json(path: Path) -> dict[str, Any]:
    return read_json(path, DataError, mend="Delete it.") if path.exists() else {}


def _pretty(tree: Mapping[str, Any]) -> str:
    return json.dumps(tree, indent=2, ensure_ascii=False)


def accuracies(card: ExpertCard | None) -> list[tuple[str, Any]]:
    """Labelled accuracies, or mean scores, that are known, those of the test split first."""
    if card is None:
        return []
    known = {
        "base, test": card.base_test,
        "expert, test": card.test,
        "expert, validation": card.validation,
    }
    return [(label, accuracy) for label, accuracy in known.items() if accuracy is not None]


def facts(rows: Rows, summary: Mapping[str, Any], card: ExpertCard | None) -> dict[str, str]:
    """The run in a few words."""
    found = {"steps": f"{rows[-1]['step']:,}"}
    if card:
        equal = " (the expert is the base model: no step did better)" if card.equals_base else ""
        found["best step"] = f"{card.step:,}{equal}"
    if "trainable_parameters" in summary:
        found["trainable parameters"] = f"{summary['trainable_parameters']:,}"
    synced = [row for row in rows if row.get("sync/bytes") is not None]
    if synced:
        seconds = sorted(row["sync/seconds"] for row in synced)
        found["bytes per sync"] = f"{synced[-1]['sync/bytes']:,.0f}"
        found["ms per sync, median"] = f"{1e3 * seconds[len(seconds) // 2]:.1f}"
    times = [row["step_time"] for row in rows if row.get("step_time") is not None]
    if times:
        found["s per step, mean"] = f"{sum(times) / len(times):.2f}"
    tokens = sum(row.get("num_tokens") or 0 for row in rows)
    return found | {"completion tokens": f"{tokens:,.0f}"}


def learning_charts(rows: Rows) -> list[Chart]:
    """Whether it learned."""
    supervised = [row for row in rows if "mean_token_accuracy" in row]
    return _shown(
        Chart(
            "Loss of supervision",
            "Mean over the completion tokens of a step, in nats, and what the adapter adds.",
            charts.line_chart(supervised, "loss"),
        ),
        Chart("Reward", "Mean over the completions of a step.", charts.line_chart(rows, "reward")),
        *_validation_charts(rows),
        Chart(
            "KL to the base model",
            "Mean over completion tokens, in nats.",
            charts.line_chart(rows, "kl", colour=ORANGE),
        ),
        Chart(
            "Entropy",
            "Of the policy, mean over completion tokens, in nats.",
            charts.line_chart(rows, "entropy", colour=ORANGE),
        ),
        Chart(
            "Groups without signal",
            "Share of groups whose rewards are all equal: nothing is learned from them.",
            charts.line_chart(rows, "frac_reward_zero_std", colour=FAINT, from_zero=True),
        ),
        Chart(
            "Gradient norm", "Before clipping.", charts.line_chart(rows, "grad_norm", colour=FAINT)
        ),
        Chart(
            "Gain of the hyperbolic update",
            "Mean over tokens and modules; 1 is a plain LoRA.",
            charts.line_chart(rows, "gain/hyperbolic/mean"),
        ),
        Chart(
            "Curvature",
            "Smallest and largest over modules and experts.",
            charts.band_chart(rows, "curvature/max", "curvature/min", "curvature/max"),
        ),
        Chart(
            "Router entropy",
            "Mean over tokens and modules, in nats; ln 3 = 1.10 where three experts share alike.",
            charts.line_chart(rows, "router/entropy", colour=ORANGE),
        ),
    )


def _validation_charts(rows: Rows) -> list[Chart]:
    """Accuracies, or mean scores where rewards judge nothing."""
    caption = "Greedy, with its 95 % interval."
    accuracy = charts.interval_chart(rows, "eval_accuracy", percent=True)
    score = charts.interval_chart(rows, "eval_score")
    return [
        Chart("Validation accuracy", caption, accuracy),
        Chart("Validation score", caption, score),
    ]


def trust_charts(rows: Rows) -> list[Chart]:
    """Whether the samples came from the policy that was trained, and what each step cost."""
    ratio = "sampling/importance_sampling_ratio"
    return _shown(
        Chart(
            "Importance ratio, trainer to engine",
            "Mean, smallest and largest over tokens; 1 where both run the same policy.",
            charts.band_chart(rows, f"{ratio}/mean", f"{ratio}/min", f"{ratio}/max", colour=ORANGE),
        ),
        Chart(
            "Canary gap at sync",
            "Largest difference of log-probs between engine and trainer on fixed sequences.",
            charts.line_chart(rows, "sync/gap", colour=ORANGE, from_zero=True),
        ),
        Chart(
            "Sync time",
            "Milliseconds until the slowest engine ran the new policy, digest check included.",
            charts.line_chart(rows, "sync/seconds", scale=1e3, from_zero=True),
        ),
        Chart("Where the time goes", "Seconds of each step.", charts.time_chart(rows)),
    )


def answer_charts(rows: Rows, folder: Path, card: ExpertCard | None) -> list[Chart]:
    """What the completions were like."""
    verdicts = {f"verdicts/{kind}": (kind, colour) for kind, colour in VERDICT_COLOURS.items()}
    return _shown(
        Chart(
            "Verdicts",
            "Completions of each step by how they were judged.",
            charts.stacked_chart(rows, verdicts, unit="completions"),
        ),
        Chart(
            "Length of completions",
            "Mean, shortest and longest, in tokens.",
            charts.band_chart(
                rows,
                "completions/mean_length",
                "completions/min_length",
                "completions/max_length",
            ),
        ),
        Chart(
            "How lengths are spread",
            "Share of the completions of single steps.",
            charts.histogram(lengths(folder, card)),
        ),
        Chart(
            "Cut off by a limit",
            "Share of completions that did not end by themselves.",
            charts.line_chart(rows, "completions/clipped_ratio", colour=FAINT, from_zero=True),
        ),
        Chart(
            "Confusion matrix",
            f"Test problems by gold label and by what the expert said; {UNREAD} names no label.",
            charts.confusion_map(confusion) if (confusion := confusion_counts(card)) else None,
        ),
    )


def confusion_counts(card: ExpertCard | None) -> Mapping[str, Mapping[str, int]]:
    """Counts of the test split, of a classifier that was tested."""
    return card.test.confusion if card and isinstance(card.test, Accuracy) else {}


def lengths(folder: Path, card: ExpertCard | None) -> dict[str, list[int]]:
    """Completion lengths of the first, the best and the last step."""
    return {
        label: [row["num_tokens"] for row in read_completions(path)]
        for label, path in _chosen_steps(folder, card, first=True).items()
    }


def _chosen_steps(folder: Path, card: ExpertCard | None, *, first: bool) -> dict[str, Path]:
    """Label -> completions file of the steps worth showing, each file once."""
    paths = completions_steps(folder)
    if not paths:
        return {}
    chosen = {"first": paths[0]} if first else {}
    if card and (best := completions_path(folder, card.step)) in paths:
        chosen["best"] = best
    chosen["last"] = paths[-1]
    by_path: dict[Path, list[str]] = {}
    for label, path in chosen.items():
        by_path.setdefault(path, []).append(label)
    return {
        f"step {int(path.stem.removeprefix('step_'))} ({' and '.join(labels)})": path
        for path, labels in by_path.items()
    }


def verdict_totals(rows: Rows) -> list[tuple[str, int, float]]:
    """Kind, count and share over the whole run."""
    counts = {
        kind: int(sum(row.get(f"verdicts/{kind}") or 0 for row in rows)) for kind in VERDICT_COLOURS
    }
    total = sum(counts.values())
    shown = [kind for kind in counts if counts[kind] or kind != VerdictKind.GRADED]
    return [(kind, counts[kind], counts[kind] / total) for kind in shown] if total else []


def change_of(expert: Expert | None) -> Change:
    """Heat maps of what the expert changed."""
    if expert is None:
        return Change([], [], "No expert has been kept yet.")
    try:
        change = changes(expert)
    except RlpeftError as error:
        # A run's other records are worth showing all the same; the reason stands in the page.
        return Change([], [], str(error))
    is_svf = expert.config.get("peft_type") == "SVF"
    caption = (
        "Root mean square of z - 1: how far the singular values of a module are bent."
        if is_svf
        else "Root mean square of the update of a module."
    )
    pictures = [Chart("Size of the change", caption, charts.change_map(change))]
    if is_svf:
        caption = "Each singular value's multiplier, the largest value at the left; 1 is the base."
        pictures.append(Chart("z", caption, charts.spectrum(change), wide=True))
    return Change(pictures, kind_stats(change))


def examples(folder: Path, card: ExpertCard | None) -> list[Examples]:
    """Completions of the best and the last step."""
    return [
        Examples(f"Completions of {label}", pick(read_completions(path)))
        for label, path in _chosen_steps(folder, card, first=False).items()
    ]


def pick(rows: Iterable[Mapping[str, Any]]) -> list[list[Mapping[str, Any]]]:
    """Some problems with some completions each; first those that were answered differently."""
    by_prompt: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        by_prompt.setdefault(f"{row['problem']}\0{row['prompt']}", []).append(row)
    groups = sorted(by_prompt.values(), key=lambda g: len({row["reward"] for row in g}) < 2)
    return [_varied(group)[:NUM_COMPLETIONS] for group in groups[:NUM_PROBLEMS]]


def _varied(group: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """One of each verdict first, so that a cut leaves every kind in sight."""
    seen: set[str] = set()
    first: list[Mapping[str, Any]] = []
    later: list[Mapping[str, Any]] = []
    for row in group:
        (later if row["verdict"] in seen else first).append(row)
        seen.add(row["verdict"])
    return first + later


def visible(text: str | None, head: int = HEAD, tail: int = TAIL) -> str:
    """Text with its invisible characters spelled out, and cut in the middle where it is long.

    >>> visible("a\\u202eb")
    'a⟨U+202E⟩b'
    """
    text = text or ""
    if len(text) <= head + tail:
        return "".join(map(_visible_character, text))
    left = len(text) - head - tail
    start, end = visible(text[:head], head), visible(text[-tail:], tail)
    return f"{start}\n[… {left:,} characters left out …]\n{end}"


def _visible_character(character: str) -> str:
    if character in "\n\t" or unicodedata.category(character)[0] != "C":
        return character
    return f"⟨U+{ord(character):04X}⟩"


def _shown(*found: Chart) -> list[Chart]:
    return [chart for chart in found if chart.uri is not None]
