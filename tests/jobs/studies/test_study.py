"""A study: tuned on one seed, run with all, gone on with after any end, its holes told."""

import json
from dataclasses import replace

import pytest

from jobs.studies.figures import figures, tables
from jobs.studies.results import RESULT_FILE, Result, read_result
from jobs.studies.study import Studied, run_here, run_study
from jobs.studies.written import write_study
from rlpeft.errors import CheckpointError, ConfigError, DataError
from rlpeft.recipe.run import validated
from rlpeft.recipe.study import StudyRecipe

CONTRASTS = [
    {"of": {"adapter": "svf"}, "against": {"adapter": "lora"}},
    {"of": {"adapter": "svf"}, "against": "base"},
]


def study(**changes):
    small = ["train.steps=1", "train.prompts_per_step=2", "train.group_size=2"]
    tree = {
        "name": "s",
        "claim": "svf beats lora",
        "recipe": "quickstart",
        "set": [*small, "task.num_validation=4", "task.num_test=6"],
        "axes": {"adapter": {"svf": [], "lora": ["adapter={ type = 'lora', rank = 2 }"]}},
        "seeds": [3, 4],
        "contrast": CONTRASTS,
    }
    return validated(StudyRecipe, tree | changes, source="s")


class Runs:
    """Runs cells as told: each answers as many of ten problems as its learning rate has hundredths,
    with LoRA two less, and with seed 4 one more.
    """

    def __init__(self, fails=lambda cell: False):
        self.seen, self.fails = [], fails

    def __call__(self, cells, folder):
        for cell in cells:
            own = folder / cell.id
            own.mkdir(parents=True, exist_ok=True)
            error = "the loss must be finite" if self.fails(cell) else ""
            (own / RESULT_FILE).write_text(json.dumps({"error": error}))
            self.seen.append((cell.arm.name, dict(cell.setting), cell.seed))
            yield cell


@pytest.fixture
def answers(monkeypatch):
    """What a run answered, in the place of its files."""
    from jobs.studies import study as module

    def read(folder):
        told = json.loads((folder / RESULT_FILE).read_text())
        if told["error"]:
            return Result(error=told["error"])
        arm, lr, seed, _ = folder.name.split("-")
        right = round(100 * float(lr)) - 2 * (arm == "lora") + (seed == "seed4")
        keys = [(f"{n}+1=", str(n), 0) for n in range(10)]
        values = {key: float(at < right) for at, key in enumerate(keys)}
        base = {key: float(at < 3) for at, key in enumerate(keys)}
        return Result(
            validation=0.9 if lr == "0.07" else 0.5,
            values={"expert": values, "base": base},
            curve=[(0, 0.3), (1, right / 10)],
            facts={"parameters": 10.0, "seconds": None},
        )

    monkeypatch.setattr(module, "read_result", read)


TUNED = {"tune": [{"key": "learner.lr", "values": [0.05, 0.07]}]}


def test_each_arm_is_tuned_on_the_first_seed_and_run_with_all(tmp_path, answers):
    runs = Runs()
    done = run_study(study(**TUNED), tmp_path, run_cells=runs)
    assert runs.seen[:4] == [
        ("svf", {"learner.lr": 0.05}, 3),
        ("svf", {"learner.lr": 0.07}, 3),
        ("lora", {"learner.lr": 0.05}, 3),
        ("lora", {"learner.lr": 0.07}, 3),
    ]
    assert runs.seen[4:] == [(arm, {"learner.lr": 0.07}, 4) for arm in ("svf", "lora")]
    assert done.settings == {arm: {"learner.lr": 0.07} for arm in ("svf", "lora")}
    assert done.tried["svf"] == [({"learner.lr": 0.05}, 0.5), ({"learner.lr": 0.07}, 0.9)]


def test_a_finished_run_is_not_repeated_and_what_is_new_is_run(tmp_path, answers):
    run_study(study(**TUNED), tmp_path, run_cells=Runs())
    again = Runs()
    run_study(study(**TUNED, seeds=[3, 4, 5]), tmp_path, run_cells=again)
    assert [seed for _, _, seed in again.seen] == [5, 5]


def test_every_run_is_counted_once(tmp_path, answers):
    told = []
    tell = lambda number, total, cell, result: told.append((number, total))  # noqa: E731
    run_study(study(**TUNED), tmp_path, run_cells=Runs(), on_cell=tell)
    assert told == [(number, 6) for number in range(1, 7)]


def test_figures_are_of_all_seeds_and_pairs(tmp_path, answers):
    found = figures(run_study(study(**TUNED), tmp_path, run_cells=Runs()))
    assert found["arms"]["svf"]["by_seed"] == {3: 0.7, 4: 0.8}
    assert found["arms"]["svf"]["test"]["value"] == pytest.approx(0.75)
    assert found["base"]["value"] == pytest.approx(0.3)
    against_lora, against_base = found["contrasts"]
    assert against_lora["difference"]["value"] == pytest.approx(0.2)
    assert against_base["difference"]["value"] == pytest.approx(0.45)
    assert found["level"] == pytest.approx(0.975)


def test_a_search_is_compared_with_equal_parts_and_with_the_best_of_its_experts():
    tree = {"name": "s", "claim": "c", "recipe": "tiny-mix", "by": "adapt", "seeds": [0]}
    axes = {"search": {"cem": [], "cma": ["search.type=cma"]}}
    contrasts = [{"of": {"search": "cem"}, "against": each} for each in ("uniform", "parent")]
    this = validated(StudyRecipe, tree | {"axes": axes, "contrast": contrasts}, source="s")
    right = {"base": 1, "poor": 2, "good": 5, "uniform": 4}
    runs = {
        name: {0: Result(values={p: worth(n) for p, n in (right | {"mixed": mixed}).items()})}
        for name, mixed in (("cem", 8), ("cma", 3))
    }
    found = figures(Studied(this, runs, {arm: {} for arm in runs}, dict.fromkeys(runs, ())))
    gaps = {each["against"]: each["difference"]["value"] for each in found["contrasts"]}
    assert gaps == pytest.approx({"uniform": 0.4, "good": 0.3})
    told = [line.split(" | ")[:2] for line in tables(found).splitlines()]
    assert told[2:5] == [
        ["| base", "10.0"],
        ["| equal parts", "40.0"],
        ["| best expert, good", "50.0"],
    ]


def worth(right):
    """Ten problems, of which so many are answered."""
    return {(f"{at}+1=", str(at), 0): float(at < right) for at in range(10)}


def test_tables_tell_arms_costs_and_verdicts(tmp_path, answers):
    found = figures(run_study(study(**TUNED), tmp_path, run_cells=Runs()))
    told = tables(json.loads(json.dumps(found))).splitlines()  # as they are read back
    assert (
        told[0] == "| adapter | learner.lr | test accuracy | 95 % interval | by seed | parameters |"
    )
    assert told[2].startswith("| base | - | 30.0 | ")
    assert told[3].startswith("| svf | 0.07 | 75.0 | ")
    assert told[3].endswith(" | 70.0, 80.0 | 10 |")
    assert any(line.startswith("| svf less lora | +20.0 | ") for line in told)
    assert told[-1].startswith("In percent. 10 test problems, 2 seeds;")
    assert (
        "svf chose the most of learner.lr that was tried, 0.07: better may lie beyond" in told[-1]
    )


def test_runs_that_fell_below_their_start_are_counted(tmp_path, answers):
    done = run_study(study(**TUNED), tmp_path, run_cells=Runs())
    assert "ended below its start" not in tables(figures(done))
    fallen = {**done.results["svf"], 4: replace(done.results["svf"][4], curve=[(0, 0.3), (1, 0.2)])}
    told = tables(figures(replace(done, results={**done.results, "svf": fallen}))).splitlines()
    assert told[0].endswith("| by seed | ended below its start | parameters |")
    assert told[3].endswith(" | 1 of 2 | 10 |")
    assert told[4].endswith(" | 0 of 2 | 10 |")


def test_a_run_that_fails_leaves_a_hole_and_is_tried_again(tmp_path, answers):
    runs = Runs(lambda cell: cell.arm.name == "lora" and cell.seed == 4)
    done = run_study(study(**TUNED), tmp_path, run_cells=runs)
    found = figures(done)
    assert found["arms"]["lora"]["failed"] == {4: "the loss must be finite"}
    assert found["arms"]["lora"]["by_seed"] == {3: 0.5}
    assert "(1 failed)" in tables(found)
    again = Runs()
    run_study(study(**TUNED), tmp_path, run_cells=again)
    assert again.seen == [("lora", {"learner.lr": 0.07}, 4)]


def test_an_arm_without_a_setting_that_trains_ends_the_study(tmp_path, answers):
    with pytest.raises(ConfigError, match=r"of lora .*all 2 .*must be finite"):
        run_study(study(**TUNED), tmp_path, run_cells=Runs(lambda cell: cell.arm.name == "lora"))


def test_a_folder_of_another_study_is_refused(tmp_path, answers):
    run_study(study(**TUNED), tmp_path, run_cells=Runs())
    with pytest.raises(CheckpointError, match="study was 's', is 'other'"):
        run_study(study(**TUNED, name="other"), tmp_path, run_cells=Runs())


@pytest.mark.slow
def test_runs_in_this_process_are_whole_runs_and_go_on_where_one_was_cut_off(tmp_path):
    one = study(seeds=[3], contrast=CONTRASTS)
    done = run_study(one, tmp_path, run_cells=run_here)
    whole = {cell.name: read_result(cell) for cell in (tmp_path / "cells").iterdir()}
    assert len(whole) == 2
    for cell in (tmp_path / "cells").iterdir():  # as where a run is cut off in its last test
        (cell / RESULT_FILE).unlink()
        (cell / "summary.json").unlink()
    again = run_study(one, tmp_path, run_cells=run_here)
    assert {name: arm[3].values for name, arm in again.results.items()} == {
        name: arm[3].values for name, arm in done.results.items()
    }
    found = write_study(again, tmp_path)
    assert found["problems"] == 6
    assert "svf less lora" in (tmp_path / "report.html").read_text()
    assert "| svf less base |" in (tmp_path / "table.md").read_text()


def test_what_cannot_begin_ends_the_study(tmp_path):
    with pytest.raises(DataError, match="task"):
        run_study(study(set=["task.name=tiny/nothing"]), tmp_path, run_cells=run_here)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"equals_base": True}, "| svf less base | - | - | none: every run kept the base |"),
        ({"judges": [{"name": "length"}]}, "| - | - | not comparable: other rewards judge it |"),
    ],
)
def test_arms_that_nothing_tells_apart_or_several_judges_have_no_difference(
    tmp_path, answers, changes, said
):
    done = run_study(study(**TUNED), tmp_path, run_cells=Runs())
    of_svf = {seed: replace(each, **changes) for seed, each in done.results["svf"].items()}
    told = tables(figures(replace(done, results={**done.results, "svf": of_svf})))
    assert said in told
    assert ("judged by different rewards" in told) == ("judges" in changes)
