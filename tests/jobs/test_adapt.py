"""`rlpeft adapt` on the tiny base model, as a person types it."""

import csv
import json
import re
import shutil

import pytest
import torch
from typer.testing import CliRunner

from jobs.adapt import read_inputs, run
from jobs.cli import app
from jobs.cli.adapt import print_summary
from rlpeft.errors import CheckpointError, DataError, ExpertError, FileError
from rlpeft.experts.files import load_expert
from rlpeft.experts.mixture import ExpertSet
from rlpeft.experts.model_card import model_card
from rlpeft.models.digest import model_digest
from rlpeft.models.folder import resolve_model
from rlpeft.program.rows_of_run import keep_trained_on
from rlpeft.tasks.catalogue import load_task


class CutOff(Exception):
    """Stands for whatever ends a search."""


def test_it_writes_an_expert_that_says_how_it_was_found(adapt_recipe, tiny_experts, tmp_path):
    summary = run(adapt_recipe(), tmp_path / "out")
    card = load_expert(tmp_path / "out" / "expert").card
    mixture = card.mixture
    assert list(mixture.parents) == ["base", "down", "up"]
    assert len(mixture.search["history"]) == 3
    assert len(mixture.search["shots"]) == 4
    again = ExpertSet.read([tiny_experts / "down", tiny_experts / "up"])
    mixed = again.mix(mixture.coefficients, normalise=mixture.normalise)
    assert mixed.digest == card.digest == summary["digest"]
    assert list(summary["test"]) == ["base", "down", "up", "uniform", "mixed"]
    assert card.test.model_dump() == summary["test"]["mixed"]
    assert card.test.total == 20
    with (tmp_path / "out" / "history.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["step"] for row in rows] == ["1", "2", "3"]
    assert (tmp_path / "out" / "history.svg").read_text().startswith("<?xml")


@pytest.mark.slow
def test_a_search_that_was_cut_off_ends_as_one_that_was_not(adapt_recipe, tmp_path):
    def cut(progress, row):
        if progress.step == 2:
            raise CutOff

    whole = run(adapt_recipe(), tmp_path / "whole")
    with pytest.raises(CutOff):
        run(adapt_recipe(), tmp_path / "parts", on_iteration=cut)
    parts = run(adapt_recipe(), tmp_path / "parts")
    assert parts["digest"] == whole["digest"]
    assert parts["coefficients"] == whole["coefficients"]
    assert parts["test"] == whole["test"]
    evaluations = [(tmp_path / n / "evaluations.jsonl").read_text() for n in ("whole", "parts")]
    assert evaluations[0] == evaluations[1]
    # A finished search is not searched again.
    assert run(adapt_recipe(), tmp_path / "parts", on_iteration=cut) == parts


@pytest.mark.slow
def test_a_mixed_expert_is_evaluated_by_the_recipe_of_its_search(adapt_recipe, tmp_path):
    summary = run(adapt_recipe(), tmp_path / "out")
    arguments = ["evaluate", str(tmp_path / "out" / "expert"), "--json"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert found["accuracy"] == summary["test"]["mixed"]
    assert found["base_accuracy"] == summary["test"]["base"]


def test_an_expert_that_cannot_be_mixed_is_named(adapt_recipe, tmp_path, make_expert):
    make_expert(
        "low",
        {"base_model.model.a.lora_A.weight": torch.ones(2, 2)},
        folder=tmp_path / "low",
        config={"peft_type": "LORA"},
        adapter={"type": "lora", "rank": 2},
        base_digest=model_digest(resolve_model("tiny")),
    )
    with pytest.raises(ExpertError, match="only SVF experts can be mixed, 'low' is LORA"):
        run(adapt_recipe(experts=[str(tmp_path / "low")]), tmp_path / "out")


@pytest.mark.slow
def test_a_search_is_not_continued_under_other_experts(adapt_recipe, tiny_experts, tmp_path):
    def cut(progress, row):
        raise CutOff

    with pytest.raises(CutOff):
        run(adapt_recipe(), tmp_path / "out", on_iteration=cut)
    with pytest.raises(CheckpointError, match=r"experts\.down was .*recipe\.experts was"):
        run(adapt_recipe(experts=[str(tiny_experts / "up")]), tmp_path / "out")
    with pytest.raises(CheckpointError, match=r"recipe\.search\.iterations was 3, is 4"):
        run(adapt_recipe(search={"population_size": 4, "iterations": 4}), tmp_path / "out")


@pytest.mark.parametrize("gold", [["21"], " "])
def test_a_shot_whose_gold_answer_its_reward_does_not_take_is_named(adapt_recipe, tmp_path, gold):
    path = tmp_path / "shots.jsonl"
    rows = [{"prompt": "12@=", "answer": "21"}, {"prompt": "34@=", "answer": gold}]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(DataError, match=r"shots\.jsonl', row 2 .*a gold answer must be"):
        read_inputs(adapt_recipe(shots={"path": str(path)}))


@pytest.mark.slow
def test_test_problems_that_an_expert_was_trained_on_are_passed_over(
    adapt_recipe, tiny_experts, tmp_path
):
    shutil.copytree(tiny_experts, tmp_path / "run")
    recipe = adapt_recipe(experts=[str(tmp_path / "run")])
    keep_trained_on(tmp_path / "run", load_task(recipe.task).split("test")[:5], before=[])
    with pytest.raises(DataError) as refused:
        read_inputs(recipe)
    assert "or ask those alone that no expert has seen: rlpeft evaluate" in str(refused.value)
    whole, unseen = read_inputs(adapt_recipe()), read_inputs(recipe, unseen=True)
    assert len(unseen.tested) == len(whole.tested) - 5
    assert any(
        re.search(r"5 of the 20 test problems of '.*' were trained on", note)
        for note in unseen.notes
    )
    assert "unseen" in unseen.fingerprint()
    assert "unseen" not in whole.fingerprint()


def test_experts_of_another_base_are_refused(adapt_recipe, tiny_experts, tmp_path, make_expert):
    made = load_expert(tiny_experts / "up")
    make_expert(
        "stray",
        made.tensors,
        folder=tmp_path / "stray",
        config=dict(made.config),
        adapter={"type": "svf"},
        base_digest="0" * 64,
    )
    with pytest.raises(ExpertError, match="was trained on base model sha256:0000"):
        run(
            adapt_recipe(experts=[str(tiny_experts / "up"), str(tmp_path / "stray")]),
            tmp_path / "out",
        )


def test_a_folder_whose_path_is_too_long_is_one_line(adapt_recipe, tmp_path):
    with pytest.raises(FileError, match="shorter path"):
        run(adapt_recipe(), tmp_path / "/".join(["x" * 200] * 30))


@pytest.mark.slow
def test_the_command_prints_the_table_and_takes_the_light_budget(tiny_experts, tmp_path):
    options = ["task.num_test=10", f'experts=["{tiny_experts}"]', "search.population_size=4"]
    arguments = ["adapt", "tiny-mix", "--light", "--out", str(tmp_path / "out")]
    arguments += [part for option in options for part in ("--set", option)]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    assert "iteration 10/10  best" in result.stderr
    assert "uniform" in result.stdout
    assert "on 3 shots" in result.stdout
    assert "\nnext" in result.stdout
    result = CliRunner().invoke(app, [*arguments, "--json"])
    assert json.loads(result.stdout)["shots"]["number"] == 3


@pytest.mark.parametrize(("equals_base", "next_one"), [(True, "LARGER"), (False, "export runs/m")])
def test_the_end_shows_coefficients_as_they_count_and_what_is_next(equals_base, next_one, capsys):
    score = {"value": 0.5, "low": 0.4, "high": 0.6, "correct": 5, "total": 10}
    summary = {
        "name": "m",
        "expert": "runs/m/expert",
        "equals_base": equals_base,
        "arm": "per vector, normalised",
        "coefficients": {"base": 0.148, "up": 0.0},
        "shares": {"base": 1.0, "up": 0.0},
        "shots": {"number": 4, "accuracy": 0.5},
        "cross_validation": {},
        "test": {"base": score, "mixed": score},
        "history": "runs/m/history.svg",
    }
    print_summary(summary, as_json=False, larger="LARGER")
    printed = capsys.readouterr().out
    assert "base 1.000, up 0.000 (one an expert, shares of 1)" in " ".join(printed.split())
    assert next_one in printed.split("\nnext")[1]
    assert ("found is the base model" in printed) == equals_base


@pytest.mark.parametrize(("accuracy", "likelihood"), [(0.5, -0.25), (0.0, float("-inf"))])
def test_shots_that_told_nothing_are_said_to(accuracy, likelihood, capsys):
    score = {"value": 0.5, "low": 0.4, "high": 0.6, "correct": 5, "total": 10}
    summary = {
        "name": "m",
        "expert": "runs/m/expert",
        "arm": "per matrix, free",
        "coefficients": {"base": 0.148, "up": 0.0},
        "shots": {"number": 4, "accuracy": accuracy, "likelihood": likelihood, "tied": True},
        "cross_validation": {},
        "test": {"base": score, "mixed": score},
        "history": "runs/m/history.svg",
    }
    print_summary(summary | {"equals_base": True}, as_json=False, larger="LARGER")
    assert "none did better" not in capsys.readouterr().out
    print_summary(summary, as_json=False, larger="LARGER")
    printed = " ".join(capsys.readouterr().out.split())
    assert "these told nothing" in printed
    assert ("mere chance" in printed) == (accuracy == 0)
    assert printed.endswith("next LARGER")


@pytest.mark.slow
def test_a_search_whose_shots_nothing_solves_says_so_wherever_it_is_told(adapt_recipe, tmp_path):
    path = tmp_path / "shots.jsonl"
    rows = [{"prompt": f"{n}@=", "answer": "no such answer"} for n in (12, 34)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    summary = run(adapt_recipe(shots={"path": str(path)}), tmp_path / "out")
    assert summary["shots"]["tied"]
    card = load_expert(tmp_path / "out" / "expert").card
    assert card.mixture.search["tied"]
    assert "these told nothing" in model_card(card, "tiny")


def test_shares_are_what_a_mixture_is_made_of(tiny_experts):
    experts = ExpertSet.read([tiny_experts / "down", tiny_experts / "up"])
    given = [0.1, 0.3, 0.0]
    assert list(experts.shares(given, normalise=True).values()) == pytest.approx([0.25, 0.75, 0])
    assert list(experts.shares(given, normalise=False).values()) == pytest.approx(given)


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ('experts=["nowhere"]', "there is none at or below 'nowhere'"),
        ("search.type=annealing", "search"),
        ("shots.number=1", "shots.number"),
        ("search.elites=3", "unknown key 'search.elites'"),
    ],
)
def test_a_mistake_is_one_line(option, message):
    result = CliRunner().invoke(app, ["adapt", "tiny-mix", "--set", option])
    assert result.exit_code == 1
    assert message in result.output
    assert "Traceback" not in result.output


def test_every_packaged_recipe_is_valid():
    from jobs.recipes import ADAPT, read_adapt_recipe, recipe_names

    assert recipe_names(ADAPT)
    for name in recipe_names(ADAPT):
        assert read_adapt_recipe(name).name == name


@pytest.mark.vllm
@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_search_on_vllm_finds_what_one_on_transformers_finds(adapt_recipe, tmp_path):
    pytest.importorskip("vllm")
    found = {}
    for engine in ("hf", "vllm"):
        rollout = {"engine": engine, "max_tokens": 6, "max_prompt_tokens": 32}
        found[engine] = run(adapt_recipe(rollout=rollout), tmp_path / engine)
    assert found["vllm"]["coefficients"] == found["hf"]["coefficients"]
    assert found["vllm"]["digest"] == found["hf"]["digest"]
    assert found["vllm"]["test"] == found["hf"]["test"]
