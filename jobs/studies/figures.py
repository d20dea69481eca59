"""Every figure of a study, over seeds and problems, and its tables.

All arms are judged on the problems that every run of the study has scored, so that differences are
of the same ones. Intervals are of `rlpeft.experts.crossed`; those of contrasts hold for all
of them together (Bonferroni).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from statistics import fmean
from typing import Any

from jobs.studies.cells import StudyArm, arms_of, pairs_of
from jobs.studies.results import OURS, ProblemKey, Result
from jobs.studies.study import Studied
from rlpeft.errors import DataError
from rlpeft.experts.clustered import Estimate, corrected_level
from rlpeft.experts.crossed import crossed_difference, crossed_mean
from rlpeft.experts.measures import shown, shown_difference
from rlpeft.report.study_page import fixed
from rlpeft.terminal import score_shown

BASE, UNIFORM, PARENT = "base", "uniform", "parent"
"""Policies that a run tests beside its own; the last stands for the best of the experts mixed."""

Results = Mapping[int, Result]
"""Those of an arm, by seed."""

StudyFigures = dict[str, Any]


def figures(studied: Studied) -> StudyFigures:
    """What `study.json` holds.

    Raises:
        DataError: no problem was scored in all runs, or some runs judge and others give scores.
    """
    study = studied.study
    done = [result for arm in studied.results.values() for result in arm.values()]
    whole = [result for result in done if not result.error]
    judged = {result.judged for result in whole}
    if len(judged) > 1:
        raise DataError("arms must be judged alike, some of their rewards give scores alone.")
    problems = _in_all(whole)
    this = _Values(study.by, problems, judged != {False})
    arms = {arm.name: _of_arm(this, studied, arm) for arm in arms_of(study)}
    pairs = [*pairs_of(study)]
    level = corrected_level(max(1, len(pairs)))
    return {
        "study": study.model_dump(mode="json"),
        "judged": this.judged,
        "judges": len({json.dumps(result.judges, sort_keys=True) for result in whole}),
        "problems": len(problems),
        "left_out": max(len(each) for r in whole for each in r.values.values()) - len(problems),
        BASE: this.mean(whole[:1], BASE).model_dump() if BASE in whole[0].values else None,
        "beside": this.beside(whole),
        "arms": arms,
        "contrasts": [
            _contrast(this, studied.results, ours, theirs, level) for ours, theirs in pairs
        ],
        "level": level,
    }


def _in_all(results: Sequence[Result]) -> list[ProblemKey]:
    """The problems that every policy of every run has a score for, in the order of the first."""
    if not results:
        raise DataError("one run at least must have come to its end, all have failed.")
    answers = [values for result in results for values in result.values.values()]
    shared = [key for key in answers[0] if all(key in values for values in answers)]
    if not shared:
        raise DataError(
            "runs of a study must be tested on the same problems, these share none. Give them one "
            "task, and no change of task.options.seed on an axis."
        )
    return shared


class _Values:
    """What answers are worth, [S, P], on the problems of a study."""

    def __init__(self, by: str, problems: Sequence[ProblemKey], judged: bool) -> None:
        self._problems, self.judged, self.ours = problems, judged, OURS[by]

    def of(self, results: Iterable[Result], policy: str) -> list[list[float]]:
        return [[result.values[policy][key] for key in self._problems] for result in results]

    def mean(self, results: Iterable[Result], policy: str) -> Estimate:
        return crossed_mean(self.of(results, policy), judged=self.judged)

    def parent(self, results: Sequence[Result]) -> str:
        """Which of the experts that runs mix does best by itself, the first of equals."""
        own = {BASE, UNIFORM, self.ours}
        names = [name for name in results[0].values if name not in own]
        return max(names, key=lambda name: self.mean(results, name).value)

    def beside(self, results: Sequence[Result]) -> StudyFigures:
        """What every run tests alike beside base and its own: nothing, but for searches."""
        if self.ours != OURS["adapt"]:
            return {}
        best, first = self.parent(results[:1]), results[:1]
        return {
            label: self.mean(first, name).model_dump()
            for name, label in ((UNIFORM, "equal parts"), (best, f"best expert, {best}"))
            if all(name in each.values for each in results)
            and all(self.of([each], name) == self.of(first, name) for each in results)
        }


def _of_arm(this: _Values, studied: Studied, arm: StudyArm) -> StudyFigures:
    results, tried = studied.results[arm.name], studied.tried[arm.name]
    done = {seed: result for seed, result in results.items() if not result.error}
    by_seed = zip(done, this.of(done.values(), this.ours), strict=True)
    facts = {name: _mean(r.facts.get(name) for r in done.values()) for name in FACTS}
    return {
        "place": dict(arm.place),
        "setting": dict(studied.settings[arm.name]),
        "tried": [[dict(setting), value] for setting, value in tried],
        "test": this.mean(done.values(), this.ours).model_dump() if done else None,
        "by_seed": {seed: fmean(values_P) for seed, values_P in by_seed},
        "failed": {seed: result.error for seed, result in results.items() if result.error},
        "equal_base": sum(result.equals_base for result in done.values()),
        "curves": {seed: list(result.curve) for seed, result in done.items()},
        **facts,
    }


FACTS = {"parameters": ",.0f", "sync_bytes": ",.0f", "seconds": ",.0f"}
"""What a run costs, and how it is shown."""


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return fmean(known) if known else None


def _contrast(
    this: _Values,
    results: Mapping[str, Results],
    ours: StudyArm,
    theirs: StudyArm | str,
    level: float,
) -> StudyFigures:
    own = results[ours.name]
    other = own if isinstance(theirs, str) else results[theirs.name]
    seeds = [seed for seed in own if not own[seed].error and not other[seed].error]
    told = {"of": ours.name, "against": theirs if isinstance(theirs, str) else theirs.name}
    if not seeds:
        return {**told, "difference": None, "verdict": "no seed has run to its end in both"}
    if own[seeds[0]].judges != other[seeds[0]].judges:
        return {**told, "difference": None, "verdict": "not comparable: other rewards judge it"}
    both = [each[seed] for each in (own, other) for seed in seeds]
    if (theirs == BASE or not isinstance(theirs, str)) and all(each.equals_base for each in both):
        return {**told, "difference": None, "verdict": "none: every run kept the base"}
    policy = theirs if isinstance(theirs, str) else this.ours
    if policy == PARENT:
        policy = this.parent([own[seed] for seed in seeds])
        told["against"] = policy
    found = crossed_difference(
        this.of([own[seed] for seed in seeds], this.ours),
        this.of([other[seed] for seed in seeds], policy),
        judged=this.judged,
        level=level,
    )
    return {**told, "difference": found.model_dump(), "verdict": _verdict(found, len(seeds))}


def _verdict(found: Estimate, seeds: int) -> str:
    if found.low > 0:
        return "held"
    if found.high < 0:
        return "the opposite holds"
    return f"not told by {found.problems} problems and {seeds} seed{'s' * (seeds > 1)}"


def tables(found: StudyFigures) -> str:
    """The figures as Markdown: every arm, then every contrast."""
    parts = [_arms_table(found)]
    if found["contrasts"]:
        parts.append(_contrasts_table(found))
    return "\n\n".join((*parts, *_notes(found)))


def _arms_table(found: StudyFigures) -> str:
    measured = "accuracy" if found["judged"] else "score"
    axes = [*found["study"]["axes"]]
    tuned = list(dict.fromkeys(key for arm in found["arms"].values() for key in arm["setting"]))
    costs = [name for name in FACTS if any(arm[name] for arm in found["arms"].values())]
    shown = {"sync_bytes": "bytes a sync", "seconds": "s a run"}
    falls = [FELL] if any(map(_fallen, found["arms"].values())) else []
    head = [*axes, *tuned, f"test {measured}", "95 % interval", "by seed", *falls]
    rows = [[*head, *(shown.get(name, name) for name in costs)]]
    empty = ["-"] * (len(axes) - 1 + len(tuned))
    for name, each in fixed(found).items():
        rows.append([name, *empty, *_told(found, each), "-", *("-" for _ in (*falls, *costs))])
    for arm in found["arms"].values():
        values = [_number(found, value) for value in arm["by_seed"].values()]
        rows.append(
            [
                *arm["place"].values(),
                *(str(arm["setting"].get(key, "-")) for key in tuned),
                *(_told(found, arm["test"]) if arm["test"] else ("failed", "-")),
                ", ".join(values) + f" ({len(arm['failed'])} failed)" * bool(arm["failed"]),
                *(f"{_fallen(arm)} of {len(arm['curves'])}" for _ in falls),
                *(format(arm[name], FACTS[name]) if arm[name] else "-" for name in costs),
            ]
        )
    return markdown(rows)


FELL = "ended below its start"
"""Head of a column that is there where a run has: what is tested is the best of a run, and tells
nothing of one that fell after it."""


def _fallen(arm: Mapping[str, Any]) -> int:
    """Runs whose last validation is below their first, before any step."""
    curves = arm.get("curves", {}).values()  # not kept by studies of before
    return sum(curve[-1][1] < curve[0][1] for curve in curves if len(curve) > 1)


def _contrasts_table(found: StudyFigures) -> str:
    rows = [["contrast", "difference", f"{_percent(found['level'])} interval", ""]]
    for each in found["contrasts"]:
        gap = each["difference"]
        told = ("-", "-")
        if gap:
            numbers = (gap[name] for name in ("value", "low", "high"))
            value, low, high = shown_difference(*numbers, judged=found["judged"])
            told = value, f"{low} to {high}"
        rows.append([f"{each['of']} less {each['against']}", *told, each["verdict"]])
    return markdown(rows)


def _notes(found: StudyFigures) -> list[str]:
    """What the tables alone would not tell."""
    unit = "In percent. " if found["judged"] else ""
    seeds = len(found["study"]["seeds"])
    said = [
        f"{unit}{found['problems']} test problems, {seeds} seeds; intervals allow for the chance "
        "of both."
    ]
    if seeds == 1:
        said = [f"{unit}{found['problems']} test problems, one seed: intervals hold for it alone."]
    if found["left_out"]:
        said.append(f"{found['left_out']} problems that a run could not score are left out.")
    if found.get("judges", 1) > 1:  # not kept by studies of before
        said.append("Arms are judged by different rewards: their figures are of several scales.")
    if kept := sum(arm["equal_base"] for arm in found["arms"].values()):
        said.append(f"{kept} of {seeds * len(found['arms'])} runs kept the base model.")
    said += [
        f"{name} chose the {end} of {key} that was tried, {value}: better may lie beyond."
        for name, arm in found["arms"].items()
        for key, value, end in _at_an_end(arm)
    ]
    if len(found["contrasts"]) > 1:
        said.append(f"All {len(found['contrasts'])} contrasts hold together at 95 %.")
    return [" ".join(said)]


def _at_an_end(arm: Mapping[str, Any]) -> Iterator[tuple[str, float, str]]:
    """Keys that were given the least or the most of the numbers they were chosen from."""
    for key, value in arm["setting"].items():
        tried = {setting[key] for setting, _ in arm["tried"]}
        ends = {min(tried): "least", max(tried): "most"} if _are_numbers(tried) else {}
        if value in ends and len(tried) > 1:
            yield key, value, ends[value]


def _are_numbers(values: Iterable[object]) -> bool:
    return all(isinstance(each, int | float) and not isinstance(each, bool) for each in values)


def _told(found: StudyFigures, each: Mapping[str, Any]) -> tuple[str, str]:
    numbers = each["value"], each["low"], each["high"]
    judged = (_number(found, number) for number in numbers)
    value, low, high = judged if found["judged"] else shown(*numbers)
    return value, f"{low} to {high}"


def _number(found: StudyFigures, value: float) -> str:
    return f"{100 * value:.1f}" if found["judged"] else score_shown(value)


def _percent(level: float) -> str:
    return f"{100 * level:.4g} %"


def markdown(rows: Sequence[Sequence[str]]) -> str:
    """A table whose first row is its head."""
    head, *body = (f"| {' | '.join(row)} |" for row in rows)
    return "\n".join((head, "|" + "---|" * len(rows[0]), *body))
