"""Plain objects keep their meaning in a recipe, or are refused."""

import datetime

import pytest
from peft import IA3Config, LoraConfig, PromptTuningConfig
from pydantic import TypeAdapter
from torch import nn

from rlpeft.adapters import HypLoraConfig, MoSLoraConfig, SvfConfig
from rlpeft.adapters.methods import methods
from rlpeft.errors import ConfigError, DataError
from rlpeft.program.given import adapter_given, keep_rows, rewards_given
from rlpeft.recipe.adapter import AdapterConfig

READ = TypeAdapter(AdapterConfig)


@pytest.mark.parametrize("method", methods(), ids=lambda method: method.name)
def test_a_config_says_what_the_section_says_that_it_is_made_of(method):
    section = READ.validate_python({"type": method.name, "targets": ["down_proj", "q_proj"]})
    where = {"target_modules": ["q_proj", "down_proj"], "task_type": "CAUSAL_LM"}
    config = method.config(section, nn.Linear(1, 1), where)
    assert READ.validate_python(adapter_given(config)) == section


@pytest.mark.parametrize(
    ("config", "section"),
    [
        (SvfConfig(parametrisation="sigmoid_renorm"), {"type": "svf"}),
        (LoraConfig(r=4, lora_alpha=8, use_dora=True), {"type": "dora", "rank": 4, "alpha": 8}),
        (HypLoraConfig(r=4, curvature=-0.5), {"type": "hyplora", "rank": 4, "curvature": -0.5}),
        (MoSLoraConfig(router="z"), {"type": "moslora", "router": "z"}),
        (IA3Config(), {"type": "ia3"}),
    ],
)
def test_options_of_a_config_are_those_of_the_section(config, section):
    found = adapter_given(config)
    assert {name: found[name] for name in section} == section
    READ.validate_python(found)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (SvfConfig(form="dense"), r"SvfConfig\(form='dense'\) is not"),
        (LoraConfig(lora_dropout=0.1), r"LoraConfig\(lora_dropout=0\.1\) is not"),
        (PromptTuningConfig(), "must be one of svf, .*, got PromptTuningConfig"),
        (3, "got int"),
    ],
)
def test_a_config_that_no_recipe_can_say_is_refused(config, message):
    with pytest.raises(ConfigError, match=message):
        adapter_given(config)


def judge(completions):
    return [0.0 for _ in completions]


def test_functions_names_and_sections_are_one_list_of_rewards():
    sections, functions = rewards_given([judge, "exact", {"name": "length", "weight": 0.1}])
    name = f"{__name__}:judge"
    assert sections == [{"name": name}, {"name": "exact"}, {"name": "length", "weight": 0.1}]
    assert functions == {name: judge}


@pytest.mark.parametrize(
    "reward", [3, [None], lambda completions: [0.0], dict, [judge, 1], judge.__call__]
)
def test_what_is_no_reward_is_refused(reward):
    with pytest.raises(ConfigError, match="reward must be"):
        rewards_given(reward)


@pytest.mark.parametrize(
    ("dataset", "message"),
    [
        ([{"prompt": "a"}, {"when": datetime.date(2026, 1, 1)}], "row 2 .*'when' has date"),
        ([{"prompt": float("nan")}], "row 1 must hold what JSON can"),
        (["a", "b"], "row 1 must be a dict of columns, got str"),
        ({"training": []}, "rows by split .*, got 'training'"),
        ({"eval": [], "validation": []}, "each split once"),
        (3, "must be rows, dicts of columns, got int"),
    ],
)
def test_what_is_no_row_is_refused_with_its_place(tmp_path, dataset, message):
    with pytest.raises(DataError, match=message):
        keep_rows(dataset, tmp_path / "run", "mine")
    assert not (tmp_path / "run").exists()


def test_rows_are_kept_by_the_name_of_the_run(tmp_path):
    rows = [{"prompt": "é", "answer": "1"}]
    assert keep_rows(rows, tmp_path, "mine") == tmp_path / "given_rows" / "mine.jsonl"
    assert keep_rows({"train": rows, "eval": rows}, tmp_path, "mine").is_dir()
    kept = sorted(path.name for path in tmp_path.rglob("given_rows/**/*.jsonl"))
    assert kept == ["train.jsonl", "validation.jsonl"]
