"""A run on several tasks: drawn by weight, judged, validated and tested each on its own."""

import json
import re
from collections import Counter
from io import StringIO

import pytest
from rich.console import Console
from typer.testing import CliRunner

from jobs.cli import app
from jobs.cli.closing import closing
from jobs.sft import run as supervise
from rewards.errors import RewardError
from rlpeft.errors import ConfigError, DataError
from rlpeft.experts.files import load_expert
from rlpeft.experts.model_card import model_card
from rlpeft.program.run import run
from rlpeft.report.page import write_report
from rlpeft.runs.records import completions_steps, read_completions, read_metrics

pytestmark = pytest.mark.slow

SIZES = {"num_validation": 6, "num_test": 8}
SWAP = {"name": "tiny/swap", "weight": 3, "reward": [{"name": "exact"}], **SIZES}
ENDS = {"name": "tiny/ends", "max_tokens": 1, "reward": [{"name": "math"}], **SIZES}


@pytest.fixture(scope="module")
def recipe(make_quick):
    def make(*tasks, **sections):
        return make_quick(task=[*(tasks or (SWAP, ENDS))], reward=None, **sections)

    return make


@pytest.fixture(scope="module")
def done(recipe, tmp_path_factory):
    """The folder of a finished run, and its summary."""
    folder = tmp_path_factory.mktemp("mixed")
    return folder, run(recipe(), folder)


class CutOff(Exception):
    """Stands for whatever ends a driver."""


def test_problems_are_drawn_by_weight_and_judged_each_by_its_own_rewards(done):
    rows = [row for path in completions_steps(done[0]) for row in read_completions(path)]
    groups = Counter(row["task"] for row in rows)
    assert groups == {"swap": 3 * groups["ends"], "ends": len(rows) / 4}
    for row in rows:
        judged, other = ("exact", "math") if row["task"] == "swap" else ("math", "exact")
        assert row[judged] == row["reward"]
        assert row[other] is None


def test_a_task_keeps_to_its_own_limit(done):
    rows = [row for path in completions_steps(done[0]) for row in read_completions(path)]
    longest = {row["task"]: 0 for row in rows}
    for row in rows:
        longest[row["task"]] = max(longest[row["task"]], row["num_tokens"])
    assert longest["ends"] == 1 < longest["swap"]


def test_metrics_and_validations_tell_the_tasks_apart(done):
    first, *_, last = read_metrics(done[0])
    for row in (first, last):
        own = [row[f"tasks/{label}/eval_accuracy"] for label in ("swap", "ends")]
        assert row["eval_accuracy"] == pytest.approx(sum(own) / 2)  # as many problems of each
    assert last["tasks/swap/groups"] == 3
    assert last["tasks/ends/groups"] == 1
    mean = 3 * last["tasks/swap/reward"] + last["tasks/ends/reward"]
    assert last["reward"] == pytest.approx(mean / 4)
    assert {"frac_reward_zero_std", "completions/mean_length", "verdicts/unscorable", "epoch"} <= {
        name.removeprefix("tasks/ends/") for name in last
    }


def test_card_and_summary_hold_the_test_of_each_task(done):
    folder, summary = done
    card = load_expert(folder / "expert").card
    assert list(card.tasks) == ["swap", "ends"]
    assert card.task == {"name": "swap + ends"}
    assert sum(part.test.correct for part in card.tasks.values()) == card.test.correct
    assert sum(part.validation.correct for part in card.tasks.values()) == card.validation.correct
    for label, part in card.tasks.items():
        assert part.test.total == part.base_test.total == part.against_base.problems == 8
        assert summary["tasks"][label]["test"] == part.test.model_dump()
    assert summary["against_base"]["problems"] == 16
    text = model_card(card, "tiny")
    assert "`swap` (weight 3.000) and `ends` (weight 1.000)" in text
    assert "the expert, on `ends` alone" in text


def test_the_terminal_shows_each_task(done):
    folder, summary = done
    console = Console(width=80, record=True, file=StringIO())
    console.print(closing(summary, width=80))
    titles = re.findall(r"(\S+: test accuracy.*?) *\n", console.export_text())
    assert titles == [
        "swap: test accuracy",
        "ends: test accuracy",
        "quick: test accuracy, all tasks",
    ]
    shown = CliRunner().invoke(app, ["experts", "show", str(folder / "expert")]).stdout
    figure = load_expert(folder / "expert").card.tasks["ends"].test
    assert f"task ends      test {figure}; base test" in shown


def test_the_report_shows_each_task(done):
    page = write_report(done[0]).read_text()
    assert {"Reward by task", "Validation accuracy by task", "Length by task"} <= set(
        re.findall(r"<strong>([^<]*)</strong>", page)
    )
    assert "expert, test, ends alone" in page


@pytest.mark.parametrize("cut", [0, 2])
def test_a_run_that_was_cut_off_ends_as_one_that_was_not(recipe, done, tmp_path, decided, cut):
    def on_step(progress, metrics):
        if progress.step == cut:
            raise CutOff

    with pytest.raises(CutOff):
        run(recipe(), tmp_path, on_step=on_step)
    again = run(recipe(), tmp_path)
    assert decided(tmp_path) == decided(done[0])
    assert again["tasks"] == done[1]["tasks"]


def test_an_evaluation_asks_each_task_or_the_one_that_is_named(done):
    def evaluated(*words):
        found = CliRunner().invoke(app, ["evaluate", str(done[0] / "expert"), "--json", *words])
        return found, json.loads(found.stdout) if found.exit_code == 0 else {}

    _, both = evaluated()
    assert list(both["tasks"]) == ["tiny/swap", "tiny/ends"]
    _, ends = evaluated("--task", "ends")
    assert ends["accuracy"] == done[1]["tasks"]["ends"]["test"]
    found, _ = evaluated("--task", "tiny/sort")
    assert "--task must be one of swap, ends" in " ".join(found.output.split())


def test_supervision_draws_from_all_tasks(recipe, tmp_path):
    taught = {"steps": 2, "prompts_per_step": 8, "eval_every": 2}
    summary = supervise(recipe(train=taught), tmp_path)
    assert list(summary["tasks"]) == ["swap", "ends"]
    assert read_metrics(tmp_path)[-1]["tasks/ends/epoch"] > 0


def test_a_task_that_gives_no_accuracy_is_named_where_one_is_asked_for(recipe, tmp_path):
    graded = {**ENDS, "reward": [{"name": "length", "options": {"target_len": 4}}]}
    asked = recipe(SWAP, graded, train={"select": "accuracy"})
    with pytest.raises(ConfigError, match="those of task 'ends' gave none in this validation"):
        run(asked, tmp_path)


def test_a_task_of_which_nothing_can_be_scored_stops_the_run(recipe, tmp_path):
    rows = tmp_path / "rows.jsonl"
    rows.write_text("\n".join(json.dumps({"prompt": f"{n}", "answer": "?"}) for n in range(40)))
    lost = {"path": str(rows), "reward": [{"name": "math"}], **SIZES}
    with pytest.raises(RewardError, match="some of 6 completions must be scorable"):
        run(recipe(SWAP, lost), tmp_path / "run")


def test_a_task_that_would_never_be_drawn_is_refused_before_any_step(recipe, tmp_path):
    with pytest.raises(DataError, match="'ends' is not in a run of"):
        run(recipe(SWAP | {"weight": 1e300}, ENDS), tmp_path)
