"""`rlpeft doctor` on the tiny base: a healthy recipe passes, each illness is a row of its own."""

import json
import shutil

import pytest
from typer.testing import CliRunner

from jobs.cli import app
from rlpeft import build
from rlpeft.doctor.examine import Builders, examine
from rlpeft.errors import ModelError
from rlpeft.models.base import BaseModel
from rlpeft.models.folder import resolve_model
from rlpeft.recipe.run import parse_recipe
from rlpeft.rollout.fake import FakeEngine, Faults
from rlpeft.types import FinishReason

TINY = BaseModel.open("tiny")


def recipe(**sections):
    tree = {
        "name": "swap",
        "model": {"name": "tiny"},
        "task": {"name": "tiny/swap", "num_validation": 20, "num_test": 20},
        "rollout": {"max_tokens": 8, "max_prompt_tokens": 16},
        "reward": [{"name": "exact"}],
        "adapter": {"type": "svf", "targets": ["q_proj", "up_proj"]},
    }
    for name, section in sections.items():
        tree[name] = section if isinstance(section, list) else {**tree.get(name, {}), **section}
    return parse_recipe(tree, source="test")


@pytest.fixture(scope="module")
def learner():
    return build.build_learner(recipe(), TINY)


@pytest.fixture(scope="module")
def healthy():
    return {check.name: check for check in examine(recipe())}


@pytest.fixture
def rows(learner):
    """What the doctor finds, with one learner for all and a fake engine unless told otherwise."""

    def find(recipe, *, engine=None, **builders):
        engine = engine or fake(learner)
        makers = {"learner": lambda *_: learner, "engine": lambda *_: engine, **builders}
        return {check.name: check for check in examine(recipe, Builders(**makers))}

    return find


def fake(learner, text="1", *, finish=FinishReason.STOP, faults=None):
    """An engine that always answers the same and agrees with the learner's canary."""
    return FakeEngine(
        lambda request, seed: ((5, 2), (-0.5, -0.5), text, finish),
        logprobs=learner.logprobs,
        faults=faults,
    )


def refuse(*_):
    raise OSError("no such device")


def failed(found):
    return [name for name, check in found.items() if check.status == "fail"]


def test_a_healthy_recipe_has_nothing_to_mend(healthy):
    assert {check.status for check in healthy.values()} == {"ok"}
    assert {check.advice for check in healthy.values()} == {""}


def test_everything_is_looked_at(healthy):
    assert list(healthy) == [
        "base model",
        "task",
        "beginning of sequence",
        "end of sequence",
        "padding",
        "chat template",
        "control tokens",
        "embeddings",
        "prompt lengths",
        "gold answers in prompts",
        "reward on gold answers",
        "reward on wrong answers",
        "reward on empty answers",
        "attention and logits",
        "adapter modules",
        "trainable parameters",
        "KL at step 0",
        "dropout",
        "memory",
        "engine and weight sync",
        "completion lengths",
        "reward signal",
        "gradient and importance ratio",
    ]


def test_each_of_several_tasks_has_rows_of_its_own(healthy):
    mixed = recipe().model_dump() | {"reward": None}
    sizes = {"num_validation": 20, "num_test": 20}
    mixed["task"] = [
        {"name": "tiny/swap", "reward": [{"name": "exact"}], **sizes},
        {"name": "tiny/ends", "reward": [{"name": "label", "options": {"labels": ["x"]}}], **sizes},
    ]
    found = {check.name: check for check in examine(parse_recipe(mixed, source="test"))}
    shared = ("base model", *list(healthy)[13:-3], "gradient and importance ratio")
    own = [name for name in healthy if name not in shared]
    assert set(found) >= {*shared, *(f"{name} ({task})" for name in own for task in ("swap",))}
    assert found["reward on gold answers (swap)"].status == "ok"
    assert found["reward on gold answers (ends)"].status != "ok"
    assert found["completion lengths (ends)"].status == "ok"


def test_numbers_of_the_model_are_named(healthy):
    assert healthy["attention and logits"].found == "every layer sees all tokens; plain logits"
    assert healthy["adapter modules"].found == (
        "8 modules: q_proj 4, up_proj 4; left out: k_proj 4, v_proj 4, o_proj 4, gate_proj 4, "
        "down_proj 4"
    )
    assert "1,024 of" in healthy["trainable parameters"].found
    assert "differ by at most 0" in healthy["KL at step 0"].found
    assert "4,096 bytes" in healthy["engine and weight sync"].found


def test_a_missing_model_is_a_row_and_what_can_be_is_still_checked(rows):
    found = rows(recipe(model={"name": "/nowhere"}))
    assert failed(found) == ["base model"]
    assert "'/nowhere'" in found["base model"].found
    assert found["reward on gold answers"].status == "ok"


def test_a_missing_task_is_a_row(rows):
    assert failed(rows(recipe(task={"name": "jsonl", "path": "/nowhere.jsonl"}))) == ["task"]


def test_a_task_without_problems_to_train_on_is_a_row(rows, tmp_path):
    (tmp_path / "test.jsonl").write_text('{"prompt": "1", "answer": "1"}\n' * 20)
    sizes = {"num_validation": 2, "num_test": 2}
    found = rows(recipe(task={"name": "jsonl", "path": str(tmp_path)} | sizes))
    assert failed(found) == ["task"]
    assert "no train problems" in found["task"].found


def test_problems_that_were_left_out_are_told(rows, tmp_path):
    lines = [f'{{"prompt": "{n}", "answer": "1"}}' for n in (*range(40), *range(5))]
    (tmp_path / "rows.jsonl").write_text("\n".join(lines))
    sizes = {"num_validation": 8, "num_test": 8}
    found = rows(recipe(task={"name": "jsonl", "path": str(tmp_path / "rows.jsonl")} | sizes))
    assert "left out, whose prompts stand in a later split" in found["task"].found


def test_a_wrong_reward_is_a_row(rows):
    found = rows(recipe(reward=[{"name": "nosuchreward"}]))
    assert failed(found) == ["reward"]
    assert "nosuchreward" in found["reward"].found


def test_rewards_that_are_listed_twice_are_a_row(rows):
    found = rows(recipe(reward=[{"name": "exact"}, {"name": "exact", "weight": 2.0}]))
    assert (found["rewards"].status, found["rewards"].found) == (
        "warn",
        "'exact' twice with equal options",
    )


def test_a_missing_column_is_a_row(rows):
    assert "solution" in rows(recipe(reward=[{"name": "accuracy_reward"}]))["reward"].found


def test_a_target_that_matches_nothing_is_named_though_others_match(rows):
    found = rows(recipe(adapter={"targets": ["q_proj", "foo_proj"]}))
    assert failed(found) == ["adapter modules"]
    assert found["adapter modules"].found.endswith("no module is named foo_proj")


def test_a_base_that_the_learner_cannot_express_is_told_in_the_learners_words(rows, tmp_path):
    folder = shutil.copytree(resolve_model("tiny"), tmp_path / "base")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "attention_chunk_size": 8}))
    found = rows(recipe(model={"name": str(folder)}), learner=build.build_learner)
    assert failed(found) == ["adapter"]
    assert "does not know attention_chunk_size = 8 of model type 'llama'" in found["adapter"].found


def test_a_name_that_no_module_has_stops_training_too():
    with pytest.raises(
        ModelError,
        match=r"foo_proj is not\. Linear layers here are named down_proj, gate_proj, k_",
    ):
        build.build_learner(recipe(adapter={"targets": ["q_proj", "foo_proj"]}), TINY)


def test_a_card_counts_the_modules_that_are_moved_and_left_out():
    card = build.build_card(recipe(), TINY)
    assert card.modules == {"q_proj": 4, "up_proj": 4}
    assert card.left_out == {"k_proj": 4, "v_proj": 4, "o_proj": 4, "gate_proj": 4, "down_proj": 4}


def test_a_policy_that_does_not_start_as_its_base_fails(rows):
    moved = build.build_learner(recipe(), TINY)
    for parameter in moved.parameters.values():
        parameter.data.mul_(1.1)
    found = rows(recipe(), learner=lambda *_: moved, engine=fake(moved))
    assert failed(found) == ["KL at step 0"]


def test_dropout_that_makes_scoring_random_fails(rows):
    dropping = build.build_learner(recipe(), TINY)
    for layer in dropping.policy.get_base_model().model.layers:
        layer.self_attn.attention_dropout = 0.5
    dropping.policy.train()
    found = rows(recipe(), learner=lambda *_: dropping, engine=fake(dropping))
    assert "dropout" in failed(found)


def test_prompts_above_the_limit_do_not_hide_the_adapter(rows):
    found = rows(recipe(rollout={"max_prompt_tokens": 3}))
    assert found["prompt lengths"].status == "fail"
    assert found["KL at step 0"].status == "ok"


def test_a_run_that_cannot_fit_into_memory_fails(rows):
    found = rows(recipe(learner={"token_budget": 10**9}))
    assert failed(found) == ["memory"]


def test_completions_that_all_hit_the_limit_fail(rows, learner):
    found = rows(recipe(), engine=fake(learner, finish=FinishReason.LENGTH))
    assert failed(found) == ["completion lengths"]
    assert "100% cut off" in found["completion lengths"].found


def test_the_limit_of_a_turn_is_named_where_it_cuts(rows, learner):
    world = {"name": "calculator", "max_turn_tokens": 2}
    engine = fake(learner, finish=FinishReason.LENGTH)
    found = rows(recipe(environment=world), engine=engine)
    assert "limit 8, 2 a turn, 100% cut off" in found["completion lengths"].found
    assert found["completion lengths"].advice.startswith("Raise environment.max_turn_tokens, or")
    assert "raise environment.max_turn_tokens." in found["reward signal"].advice


WORLD = """
class Broken:
    def reset(self, row, seed): return 1 / 0
    def step(self, text): pass
"""


@pytest.mark.slow
def test_an_environment_that_fails_is_a_row_of_its_own(rows, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "broken_world.py").write_text(WORLD)
    found = rows(recipe(environment={"name": "broken_world:Broken"}))
    assert failed(found) == ["environment"]
    assert "ZeroDivisionError" in found["environment"].found
    assert found["engine and weight sync"].status == "ok"


def test_rewards_that_are_all_equal_are_a_warning(rows):
    found = rows(recipe())
    assert found["reward signal"].status == "warn"
    assert "100% of groups" in found["reward signal"].found
    assert "mend the reward" in found["reward signal"].advice


def test_an_engine_with_other_log_probs_is_a_warning(rows):
    # The script claims -0.5 for tokens that the policy finds far less likely.
    assert rows(recipe())["gradient and importance ratio"].status == "warn"


def test_an_update_that_does_not_arrive_fails(rows, learner):
    found = rows(recipe(), engine=fake(learner, faults=Faults(digest="f" * 64)))
    assert failed(found) == ["engine and weight sync"]
    assert "not delivered" in found["engine and weight sync"].found


@pytest.mark.parametrize(
    ("part", "row"), [("learner", "adapter"), ("engine", "engine and weight sync")]
)
def test_a_part_that_cannot_be_built_is_a_row(learner, part, row):
    makers = {"learner": lambda *_: learner, "engine": lambda *_: fake(learner), part: refuse}
    found = {check.name: check for check in examine(recipe(), Builders(**makers))}
    assert failed(found) == [row]
    assert found[row].found == "OSError: no such device"


def test_the_engine_is_closed_again(rows, learner):
    engine = fake(learner)
    rows(recipe(), engine=engine)
    assert engine.closed == 1


@pytest.mark.slow
def test_the_command_prints_a_table_and_exits_with_zero_when_all_is_well():
    result = CliRunner().invoke(app, ["doctor", "quickstart"])
    assert result.exit_code == 0, result.output
    assert "nothing to mend" in result.stdout


def test_the_command_exits_with_one_when_something_is_to_mend():
    arguments = ["doctor", "quickstart", "--set", "rollout.max_tokens=1", "--json"]
    result = CliRunner().invoke(app, arguments)
    document = json.loads(result.stdout)
    assert result.exit_code == 1
    assert document["ok"] is False
    failing = [check["name"] for check in document["checks"] if check["status"] == "fail"]
    assert failing == ["completion lengths"]
