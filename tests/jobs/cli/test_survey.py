"""The tables of an evaluation fit a terminal of 80 columns."""

import io

import pytest
from rich.console import Console

from jobs.cli.survey import survey_tables

ESTIMATE = {"value": 1.0, "low": 0.99999, "high": 1.0, "problems": 500}
CHANGE = {"value": -1.0, "low": -1.0, "high": -0.987, "problems": 500}


NONE = {"within": 0, "across": 0}


def shown(
    metrics,
    judged=True,
    *,
    is_base=False,
    asked_again=NONE,
    lead=ESTIMATE,
    verdicts=None,
    merged=(),
):
    row = dict.fromkeys(metrics, lead) | {"verdicts": verdicts or {}}
    task = {
        "problems": 500,
        "judged": judged,
        "metrics": list(metrics),
        "majority": "answers are one where reward 'math' says so",
        "results": {"base": row, "a-long-name": row | {"against_base": CHANGE}},
    }
    found = {"split": "test", "samples": 16, "temperature": 0.7, "comparisons": 12}
    found |= {"asked_again": asked_again}
    found |= {"experts": {"a-long-name": {"equals_base": is_base, "merged": merged}}}
    out = io.StringIO()
    for each in survey_tables(found | {"tasks": {"arithmetic": task}}):
        Console(file=out, width=80).print(each)
    return out.getvalue()


@pytest.mark.parametrize("judged", [True, False])
def test_every_figure_is_whole_within_80_columns(judged):
    metrics = ("avg@16", "pass@1", "pass@4", "pass@8", "pass@16", "maj@16")[: 6 if judged else 1]
    text = shown(metrics, judged)
    assert max(map(len, text.splitlines())) <= 80
    assert "…" not in text
    for metric in metrics:
        assert metric in text
    assert "-100.0 (-100.0 to -98.7)" in text or not judged
    assert "all 12 differences hold together at 95 %" in text


def test_the_share_of_all_samples_is_shown_once():
    """pass@1 is avg@n, whatever n."""
    text = shown(("avg@16", "pass@1", "pass@4"), lead=ESTIMATE | {"value": 0.487})
    assert text.count("avg@16 = pass@1") == text.count("pass@1") == 1
    base = next(line.split() for line in text.splitlines() if line.strip().startswith("base"))
    assert base.count("48.7") == 2


def test_an_expert_that_is_its_base_has_no_difference_with_an_interval():
    text = shown(("accuracy",), is_base=True)
    assert "is the base" in text
    assert "to -98.7" not in text


def test_small_scores_are_shown_in_as_many_places_as_their_intervals_bear():
    score = {"value": 0.01342, "low": 0.01272, "high": 0.01409, "problems": 40}
    text = shown(("score",), judged=False, lead=score)
    assert "0.0134   0.0127 to 0.0141" in text
    assert "Intervals of mean scores follow their spread and their scale." in text


def test_it_is_said_which_task_counts_a_majority_how():
    task = {"problems": 3, "judged": True, "metrics": ["accuracy"], "results": {}}
    tasks = {
        name: task | {"majority": f"answers are one where reward {reward!r} says so"}
        for name, reward in (("sums", "math"), ("more", "math"), ("names", "exact"))
    }
    found = {"split": "test", "samples": 4, "temperature": 1.0, "comparisons": 1, "experts": {}}
    found |= {"asked_again": NONE}
    said = str(list(survey_tables(found | {"tasks": tasks}))[-1])
    assert "maj@4 of sums, more: answers are one where reward 'math' says so." in said
    assert "maj@4 of names: answers are one where reward 'exact' says so." in said


def test_problems_that_ask_the_same_are_told():
    text = " ".join(shown(("accuracy",), asked_again={"within": 3, "across": 2}).split())
    assert "3 problems ask word for word what another of their task asks" in text
    assert "2 prompts stand in several tasks: the intervals of each task hold" in text
    assert "word for word" not in shown(("accuracy",))


def test_a_base_with_experts_in_it_and_answers_that_failed_are_told():
    verdicts = {"correct": 77, "error": 2, "timeout": 1}
    merged = [{"name": "sort", "digest": "d"}]
    text = " ".join(shown(("accuracy",), verdicts=verdicts, merged=merged).split())
    assert " base with sort merged 100.0" in text
    assert "a-long-name: 3 of 80 answers failed to be scored." in text
