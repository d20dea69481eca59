"""The figures of a step that are worth a glance: a line of words, whoever shows it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from rlpeft.runs.signal import teaching
from rlpeft.terminal import score_shown


def figures(
    metrics: Mapping[str, float], best: Validation | None, *, in_groups: bool = True
) -> str:
    """The figures of one step that are worth a glance.

    Args:
        best: the best validation so far.
        in_groups: `loss.compares_groups`: then the share of the groups that teach is one.
    """
    shown = []
    if "reward" in metrics:
        shown.append(f"reward {score_shown(metrics['reward'])}")
    share = teaching(metrics, in_groups=in_groups) if in_groups else None
    if share is not None:
        shown.append(f"teaching {share:.0%}")
    elif "mean_token_accuracy" in metrics:  # supervised: its loss, unlike RL's, tells something
        shown.append(f"loss {metrics['loss']:.3f}")
    if "best" in metrics:
        form = score_shown if metrics.get("graded") else "{:.1%}".format
        best_shot, mean = (form(metrics[name]) for name in ("best", "mean"))
        shown.append(f"best {best_shot}  mean {mean}  spread {metrics['spread']:.3f}")
    if "kl" in metrics:
        shown.append(f"kl {metrics['kl']:.2g}")
    if "perf/learner_idle_s" in metrics:  # steps are generated ahead: who waits for whom
        for name, who in (("perf/learner_idle_s", "learner"), ("perf/engine_idle_s", "engines")):
            shown.append(f"{who} idle {metrics[name] / metrics['step_time']:.0%}")
    if (found := validation(metrics)) is not None:
        missing = metrics.get("eval_failed", 0)
        shown.append(f"validation {found}{f' ({missing:.0f} failed to be scored)' * bool(missing)}")
    elif best is not None:
        shown.append(f"best validation {best}")
    unscorable = metrics.get("verdicts/unscorable", 0) + metrics.get("eval_unscorable", 0)
    if unscorable:
        shown.append(f"{unscorable:.0f} without a score")
    failed = metrics.get("verdicts/error", 0) + metrics.get("verdicts/timeout", 0)
    if failed:
        shown.append(f"{failed:.0f} failed to be scored")
    return "  ".join(shown)


class Validation(NamedTuple):
    """A validation's figure: the share of correct answers, or a mean score where none is judged."""

    value: float
    is_accuracy: bool

    def __str__(self) -> str:
        return f"{self.value:.1%}" if self.is_accuracy else f"score {score_shown(self.value)}"


def validation(metrics: Mapping[str, float]) -> Validation | None:
    """What a step's validation found, if it had one."""
    for name, is_accuracy in (("eval_accuracy", True), ("eval_score", False)):
        if name in metrics:
            return Validation(metrics[name], is_accuracy)
    return None
