"""What a run stands on: a start that it goes on from, a base with experts in its weights."""

import shutil

import pytest

from jobs.evaluate import evaluate_expert
from jobs.evaluation.asked import open_survey
from jobs.exams import Samples, recipe_for
from jobs.library import find_shelf, read_experts
from rlpeft.doctor.examine import examine
from rlpeft.errors import CheckpointError, ConfigError, ExpertError
from rlpeft.experts.export import export_expert
from rlpeft.experts.files import ExpertCard, find_experts, load_expert, read_card
from rlpeft.experts.steps import step_folder
from rlpeft.experts.transfer import transfer
from rlpeft.program.origin import said_of_environments
from rlpeft.program.run import run
from rlpeft.recipe.environment import EnvironmentConfig
from rlpeft.recipe.run import RolloutConfig
from rlpeft.runs.records import read_metrics

SVF, LORA = {"type": "svf"}, {"type": "lora", "rank": 4}
HYPLORA, MOSLORA = {"type": "hyplora", "rank": 4}, {"type": "moslora", "rank": 8}
ONE_STEP = {"steps": 1, "eval_every": 1}


class CutOff(Exception):
    """Stands for whatever ends a driver."""


def cut_off(progress, metrics):
    if progress.step == 1:
        raise CutOff


@pytest.fixture(scope="module")
def begun(make_quick, tmp_path_factory):
    """A maker of experts after one step of training; one of each adapter."""
    made = {}

    def make(adapter):
        if adapter["type"] not in made:
            out = tmp_path_factory.mktemp("begun") / "run"
            run(
                make_quick(name="first", adapter=adapter, learner={"lr": 0.01}, train=ONE_STEP), out
            )
            made[adapter["type"]] = step_folder(out, 1)
        return made[adapter["type"]]

    return make


@pytest.fixture
def onward(quick, begun):
    """A maker of recipes that go on from such an expert, on other problems."""

    def make(adapter=SVF, **changes):
        sections = {"task": {"name": "tiny/sort"}, "learner": {"lr": 0.01}} | changes
        sections["model"] = {"start": str(begun(adapter))} | sections.get("model", {})
        return quick(adapter=adapter, **sections)

    return make


@pytest.mark.slow
@pytest.mark.parametrize("adapter", [SVF, MOSLORA], ids=lambda adapter: adapter["type"])
def test_an_adapter_goes_on_from_an_expert_at_a_kl_of_nothing(onward, begun, tmp_path, adapter):
    loss = {"kl_coef": 0.1, "kl": "full", "reference": "start"}
    summary = run(onward(adapter, loss=loss, train=ONE_STEP), tmp_path)
    first, start = read_metrics(tmp_path)[1], load_expert(begun(adapter)).card
    assert abs(first["kl"]) < 1e-6
    assert first["eval_accuracy"] is not None
    assert summary["start"] == {"name": "first", "digest": start.digest, "source": None}
    assert not summary["equals_base"]
    card = load_expert(tmp_path / "expert").card
    assert card.start.digest == start.digest
    assert card.step == (0 if card.equals_start else 1)


@pytest.mark.slow
def test_the_kl_to_the_base_begins_where_the_doctor_says(onward, tmp_path):
    recipe = onward(loss={"kl_coef": 0.1}, train=ONE_STEP)
    run(recipe, tmp_path)
    first = read_metrics(tmp_path)[1]["kl"]
    rows = {check.name: check for check in examine(recipe)}
    assert first > 1e-4
    assert rows["KL to the reference"].found.startswith(f"{first:.3g} nats a token (k3) from the b")
    assert rows["start"].found.startswith("first of step 1, sha256:")


@pytest.mark.slow
def test_the_doctor_says_that_a_kl_to_the_start_begins_at_nothing(onward):
    rows = {c.name: c for c in examine(onward(loss={"kl_coef": 0.1, "reference": "start"}))}
    assert rows["KL to the reference"].found.startswith("0 nats a token (k3) from the start")
    assert {check.status for check in rows.values()} <= {"ok", "warn"}


@pytest.mark.slow
def test_a_start_of_another_rank_is_a_row_and_no_model_is_adapted(onward, begun):
    recipe = onward(LORA | {"rank": 8}, model={"start": str(begun(LORA))})
    rows = {check.name: check for check in examine(recipe)}
    assert rows["start"].status == "fail"
    assert "adapter.rank = 4, not 8" in rows["start"].found
    assert "engine and weight sync" not in rows


@pytest.mark.slow
def test_what_training_began_with_is_tested_too(onward, tmp_path):
    recipe = onward(learner={"lr": 1e-30}, train=ONE_STEP)
    summary = run(recipe, tmp_path)
    assert summary["equals_start"]
    assert summary["start_test"] == summary["test"]
    assert load_expert(tmp_path / "expert").card.start_test is not None


@pytest.mark.slow
def test_a_run_from_a_start_that_was_cut_off_ends_as_one_that_was_not(onward, tmp_path, decided):
    recipe = onward(loss={"kl_coef": 0.1, "reference": "start"}, train={"steps": 2})
    whole = run(recipe, tmp_path / "whole")
    with pytest.raises(CutOff):
        run(recipe, tmp_path / "parts", on_step=cut_off)
    parts = run(recipe, tmp_path / "parts")
    assert decided(tmp_path / "parts") == decided(tmp_path / "whole")
    assert parts["start_test"] == whole["start_test"]


@pytest.mark.slow
def test_a_run_goes_on_from_the_numbers_that_it_began_with_wherever_they_lie(
    onward, begun, tmp_path
):
    moved, out = tmp_path / "moved", tmp_path / "run"
    with pytest.raises(CutOff):
        run(onward(train={"steps": 2}), out, on_step=cut_off)
    shutil.copytree(begun(SVF), moved)
    other = onward(model={"start": str(step_folder(out, 1))}, train={"steps": 2})
    with pytest.raises(CheckpointError, match="start was '"):
        run(other, out)
    run(onward(model={"start": str(moved)}, train={"steps": 2}), out)


def test_a_start_that_is_no_expert_is_refused_before_there_is_a_run(onward, tmp_path):
    with pytest.raises(ExpertError, match="an expert is a folder with"):
        run(onward(model={"start": str(tmp_path)}), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_kl_to_the_start_needs_one(quick):
    with pytest.raises(ConfigError, match=r"model\.start names none"):
        quick(loss={"reference": "start"})


@pytest.fixture(scope="module")
def first(begun):
    """An expert of the tiny base."""
    return begun(LORA)


@pytest.fixture(scope="module")
def second(make_quick, first, tmp_path_factory):
    """The run of an expert on that base with the first one merged into it, and what that left."""
    out = tmp_path_factory.mktemp("second") / "run"
    recipe = make_quick(
        name="second", model={"merge": [str(first)]}, learner={"lr": 0.01}, train=ONE_STEP
    )
    return out, recipe, run(recipe, out)


@pytest.fixture
def alone(second, tmp_path):
    """The second expert without what it stands on."""
    return shutil.copytree(second[0] / "expert", tmp_path / "alone" / "expert")


@pytest.mark.slow
def test_its_card_names_what_was_merged_and_a_base_of_its_own(second, first, tiny):
    card = read_card(second[0] / "expert")
    [parent] = card.merged
    assert (parent.name, parent.digest) == ("first", read_card(first).digest)
    assert card.base_model == "tiny"
    assert card.base_digest != tiny.digest
    assert find_experts(second[0]) == [second[0] / "expert"]


def test_an_expert_of_a_merged_base_is_refused_on_another(second, tiny):
    with pytest.raises(ExpertError, match=r"\(tiny with 'first' merged into it\), the base here"):
        load_expert(second[0] / "expert", base_digest=tiny.digest)


@pytest.mark.slow
def test_a_run_on_a_merged_base_that_was_cut_off_ends_as_one_that_was_not(
    second, tmp_path, decided
):
    recipe = second[1].model_copy(
        update={"train": second[1].train.model_copy(update={"steps": 2, "eval_every": 2})}
    )
    run(recipe, tmp_path / "whole")
    with pytest.raises(CutOff):
        run(recipe, tmp_path / "parts", on_step=cut_off)
    run(recipe, tmp_path / "parts")
    assert decided(tmp_path / "parts") == decided(tmp_path / "whole")


def test_it_is_evaluated_on_its_own_base(second):
    out, recipe, summary = second
    found = evaluate_expert(out / "expert", recipe_for(out / "expert", None, None, ()))
    assert found["accuracy"] == summary["test"]
    assert found["base_accuracy"] == summary["base_test"]
    with open_survey([out / "expert"], [recipe], Samples()) as survey:
        assert survey.base.digest == read_card(out / "expert").base_digest


def test_it_is_served_on_its_own_base(second):
    shelf = find_shelf(second[0], model=None, rollout=RolloutConfig())
    assert shelf.base.digest == read_card(second[0] / "expert").base_digest
    assert read_experts(shelf).names == ("base", "second")


def test_it_is_exported_with_its_base_or_not_at_all(second, tmp_path):
    expert = second[0] / "expert"
    assert export_expert(expert, tmp_path / "merged", format="merged").gap < 1e-3
    with pytest.raises(ExpertError, match=r"cannot be exported as a PEFT folder.*format merged"):
        export_expert(expert, tmp_path / "peft", format="peft")
    with pytest.raises(ExpertError, match="cannot be transferred"):
        transfer(expert, "tiny", tmp_path / "other", shuffle_seed=None)


def test_an_expert_without_its_parents_is_refused_by_every_door(alone, second, tmp_path):
    refused = r"stands on tiny with 'first' \(sha256:.* merged into it, and no folder 'parents'"
    with pytest.raises(ExpertError, match=refused):
        evaluate_expert(alone, second[1])
    with pytest.raises(ExpertError, match=refused):
        find_shelf(alone, model=None, rollout=RolloutConfig())
    with pytest.raises(ExpertError, match=refused):
        export_expert(alone, tmp_path / "merged", format="merged")


def test_a_search_of_mixtures_refuses_it(second, adapt_recipe, tmp_path):
    from jobs.adapt import run as adapt

    with pytest.raises(ExpertError, match="tiny with 'first' merged into it"):
        adapt(adapt_recipe(experts=[str(second[0] / "expert")]), tmp_path / "mix")


@pytest.mark.slow
def test_what_cannot_be_merged_is_told_by_doctor_and_run_before_any_work(quick, begun, tmp_path):
    recipe = quick(model={"merge": [str(begun(HYPLORA))]})
    rows = {check.name: check for check in examine(recipe)}
    assert rows["base model"].status == "fail"
    assert "model.merge must list experts of SVF" in rows["base model"].found
    with pytest.raises(ExpertError, match=r"model\.merge must list experts of SVF"):
        run(recipe, tmp_path / "other")


def test_an_expert_is_merged_once(quick, first, tmp_path):
    copy = shutil.copytree(first, tmp_path / "copy")
    for again in (first, copy):
        recipe = quick(model={"merge": [str(first), str(again)]}, train=ONE_STEP)
        with pytest.raises(ConfigError, match=r"model\.merge must name each expert once"):
            run(recipe, tmp_path / "twice")
        found = {check.name: check for check in examine(recipe)}["base model"]
        assert "must name each expert once" in found.found


def test_the_doctor_says_what_is_merged(second):
    rows = {check.name: check for check in examine(second[1])}
    assert rows["base model"].found.endswith("with 'first' merged into it")
    assert rows["KL at step 0"].status == "ok"


@pytest.mark.slow
def test_a_start_must_stand_on_the_merged_base(second, first, quick, tmp_path):
    merged = {"merge": [str(first)]}
    recipe = quick(model=merged | {"start": str(first)}, adapter=LORA)
    with pytest.raises(ExpertError, match="was trained on base model"):
        run(recipe, tmp_path / "wrong")
    start = {"start": str(step_folder(second[0], 1))}
    run(quick(model=merged | start, train=ONE_STEP), tmp_path / "right")
    card = read_card(tmp_path / "right" / "expert")
    assert card.start.name == "second"
    assert [parent.name for parent in card.merged] == ["first"]


@pytest.mark.vllm
@pytest.mark.slow
@pytest.mark.timeout(600)
def test_vllm_trains_on_a_merged_base_from_a_start_as_transformers_do(
    second, first, quick, tmp_path
):
    pytest.importorskip("vllm")
    model = {"merge": [str(first)], "start": str(step_folder(second[0], 1))}
    loss = {"kl_coef": 0.1, "reference": "start"}
    found = {}
    for engine in ("hf", "vllm"):
        recipe = quick(model=model, loss=loss, rollout={"engine": engine}, train=ONE_STEP)
        found[engine] = run(recipe, tmp_path / engine)
        assert abs(read_metrics(tmp_path / engine)[1]["kl"]) < 1e-6
    for which in ("base_test", "start_test"):
        assert found["vllm"][which] == found["hf"][which]


def test_an_expert_that_talked_to_another_environment_is_named():
    trained = {"tool": {"name": "calculator"}, "plain": {}}
    cards = {name: ExpertCard.model_construct(environment=env) for name, env in trained.items()}
    (line,) = said_of_environments(cards)
    assert line == (
        "expert 'tool' was trained with the environment 'calculator', it answers here in one turn"
    )
    assert said_of_environments(cards, EnvironmentConfig(name="calculator")) == []
    (line,) = said_of_environments(cards, EnvironmentConfig(name="retry"))
    assert line.endswith("'calculator', here it is 'retry'")
