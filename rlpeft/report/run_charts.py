"""What a report draws, each picture with its words: of learning, of answers, of the change.

Rows are those of `metrics.jsonl`; a picture without records is left out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from matplotlib.figure import Figure

from rlpeft.adapters.methods import method_of
from rlpeft.errors import RlpeftError
from rlpeft.experts.change import KindStats, changes, kind_stats
from rlpeft.experts.files import Expert, ExpertCard
from rlpeft.experts.measures import UNREAD, Accuracy
from rlpeft.report import charts
from rlpeft.report.answers import chosen_steps
from rlpeft.report.charts import FAINT, ORANGE, VERDICT_COLOURS, StepRows
from rlpeft.runs.records import read_completions


@dataclass(frozen=True)
class Chart:
    """One picture with its words."""

    title: str
    caption: str
    figure: Figure | None
    wide: bool = False

    @property
    def uri(self) -> str:
        """As a page holds it."""
        assert self.figure is not None
        return charts.svg_uri(self.figure)


@dataclass(frozen=True)
class ChangeCharts:
    """What the expert changed, or why that cannot be shown."""

    charts: Sequence[Chart]
    kinds: Sequence[KindStats]
    refusal: str = ""


def learning_charts(rows: StepRows) -> list[Chart]:
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
        *_task_charts(rows),
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


def _validation_charts(rows: StepRows) -> list[Chart]:
    """Accuracies, or mean scores where rewards judge nothing."""
    caption = "Greedy, with its 95 % interval."
    accuracy = charts.interval_chart(rows, "eval_accuracy", percent=True)
    score = charts.interval_chart(rows, "eval_score")
    return [
        Chart("Validation accuracy", caption, accuracy),
        Chart("Validation score", caption, score),
    ]


def _task_charts(rows: StepRows) -> list[Chart]:
    """Each of several tasks, by its label."""

    def chart(title: str, caption: str, figure: str, *, percent: bool = False) -> Chart:
        names = {
            n: n.split("/")[1] for row in rows for n in row if fnmatchcase(n, f"tasks/*/{figure}")
        }
        return Chart(title, caption, charts.lines_chart(rows, names, percent=percent))

    means = "Mean over the completions of a step."
    return [
        chart("Validation accuracy by task", "Greedy.", "eval_accuracy", percent=True),
        chart("Validation score by task", "Greedy.", "eval_score"),
        chart("Reward by task", means, "reward"),
        chart("Length by task", f"{means} In tokens.", "completions/mean_length"),
        chart(
            "Groups without signal by task",
            "Share of groups whose rewards are all equal: nothing is learned from them.",
            "frac_reward_zero_std",
            percent=True,
        ),
    ]


def trust_charts(rows: StepRows) -> list[Chart]:
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


def answer_charts(rows: StepRows, folder: Path, card: ExpertCard | None) -> list[Chart]:
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
        for label, path in chosen_steps(folder, card, first=True).items()
    }


def change_of(expert: Expert | None) -> ChangeCharts:
    """Heat maps of what the expert changed."""
    if expert is None:
        return ChangeCharts([], [], "No expert has been kept yet.")
    try:
        change = changes(expert)
    except RlpeftError as error:
        # A run's other records are worth showing all the same; the reason stands in the page.
        return ChangeCharts([], [], str(error))
    method = method_of(expert.config)
    assert method is not None  # `changes` refuses what has no record
    assert method.change is not None
    caption = f"Root mean square of {method.change.of}."
    pictures = [Chart("Size of the change", caption, charts.change_map(change))]
    if method.change.is_spectrum:
        caption = "Each singular value's multiplier, the largest value at the left; 1 is the base."
        pictures.append(Chart("z", caption, charts.spectrum(change), wide=True))
    return ChangeCharts(pictures, kind_stats(change))


def _shown(*found: Chart) -> list[Chart]:
    return [chart for chart in found if chart.figure is not None]
