import importlib

import pytest

from rewards import RewardError
from rewards.dialects import Rollouts
from rewards.plugins import load
from rewards.scorer import RewardSpec, Scorer


def test_required_columns_are_the_parameters_nobody_else_fills(module):
    name = module(
        "def trl(prompts, completions, solution, level=1, **kwargs): ...\n"
        "def verl(data_source, solution_str, ground_truth, extra_info=None): ...\n"
        "def areal(prompt, completions, prompt_ids, completion_ids, answer, **kw): ...\n"
        "def row(completion, gold, tests): ...\n"
    )

    def needs(spec, **options):
        return set(load(spec, options).required_columns)

    assert needs(f"{name}:trl") == {"solution"}
    assert needs(f"{name}:trl", solution="x") == set()
    assert needs(f"{name}:verl") == {"data_source", "answer"}
    assert needs(f"{name}:verl", data_source="gsm8k") == {"answer"}
    assert needs(f"{name}:areal") == {"answer"}
    assert needs(f"{name}:row", gold="target") == {"tests", "target"}
    assert needs("math") == {"answer"}
    assert needs("accuracy_reward") == {"solution"}
    assert needs("think_format_reward") == set()


def test_options_are_bound_to_every_call(module, score):
    name = module("def reward(completions, bonus=0.0): return [bonus for _ in completions]")

    batch = score([RewardSpec(f"{name}:reward", options={"bonus": 0.25})], ["a"])

    assert batch.verdicts[0].score == 0.25


def test_an_unknown_option_is_refused_at_construction(module):
    name = module("def reward(completions, bonus=0.0): ...")

    with pytest.raises(RewardError, match=r"completions, bonus\), got bonsu"):
        load(f"{name}:reward", {"bonsu": 1})
    with pytest.raises(RewardError, match="lettres"):
        load("choice", {"lettres": "AB"})


def test_a_factory_is_built_from_the_options(module, score):
    name = module(
        "def get_reward(bonus):\n"
        "    def reward(completions): return [bonus for _ in completions]\n"
        "    return reward\n"
        "class Reward:\n"
        "    def __init__(self, bonus): self.bonus = bonus\n"
        "    def __call__(self, completions): return [self.bonus for _ in completions]\n"
    )

    specs = [
        RewardSpec(f"{name}:{made}", options={"bonus": 2}) for made in ("get_reward", "Reward")
    ]

    assert score(specs, ["a"]).verdicts[0].score == 4.0


def test_an_unknown_signature_lists_the_dialects(module):
    name = module("def reward(x, y): ...")

    with pytest.raises(RewardError, match=r"TRL.*verl.*OpenRLHF.*AReaL.*got \(x, y\)"):
        load(f"{name}:reward", {})


@pytest.mark.parametrize("spec", ["no.such.module:f", "rewards.nothing_here", "os:sep", "json:"])
def test_a_path_that_leads_nowhere_is_named(spec):
    with pytest.raises(RewardError, match=spec):
        load(spec, {})


@pytest.mark.parametrize("source", ["def f(:", "1 / 0", "import absent_module", "x = 1"])
def test_a_module_that_cannot_be_imported_is_named_with_its_error(module, source):
    name = module(source)

    with pytest.raises(RewardError, match=f"'{name}:f' must name an importable function"):
        load(f"{name}:f", {})


def test_a_plain_name_that_is_unknown_lists_the_built_ins():
    with pytest.raises(RewardError, match=r"choice.*math.*got 'maths'"):
        load("maths", {})


def test_a_module_in_the_working_folder_is_found(tmp_path, monkeypatch):
    (tmp_path / "folder_reward.py").write_text("def reward(completions): return [1.0]")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", ["/nowhere"])

    assert load("folder_reward:reward", {}).name == "reward"


def test_an_entry_point_is_found_by_its_name(tmp_path, monkeypatch):
    (tmp_path / "entry_reward.py").write_text("def half(completions): return [0.5]")
    info = tmp_path / "entry_reward-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: entry-reward\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[rlpeft.rewards]\nhalf = entry_reward:half\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    importlib.invalidate_caches()

    assert load("half", {}).function([""]) == [0.5]


def test_two_rewards_of_one_name_are_kept_apart():
    specs = [RewardSpec("length", options={"target_len": n}) for n in (1, 2)]
    scorer = Scorer(specs)

    rollouts = Rollouts(
        prompts=["p"],
        completions=["x"],
        completion_ids=[[1]],
        truncated=[False],
        columns={},
        step=0,
    )
    batch = scorer.score(rollouts)

    assert {name: v[0].score for name, v in batch.by_reward.items()} == {
        "length": 1.0,
        "length#2": 0.5,
    }


def test_a_misspelt_function_is_answered_with_the_one_that_is_near(module):
    with pytest.raises(RewardError, match=r"no 'halve' in '.*\.py'\. Did you mean 'halves'\?"):
        load(f"{module('def halves(completions): ...')}:halve", {})


def test_a_misspelt_built_in_is_answered_with_the_one_that_is_near():
    with pytest.raises(RewardError, match=r"got 'exactt'\. Did you mean 'exact'\?"):
        load("exactt", {})


def test_a_module_that_is_not_there_says_where_it_was_looked_for(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RewardError, match=f"no module 'absent_rewards', .*in '{tmp_path}'"):
        load("absent_rewards:f", {})


def test_a_path_that_has_moved_says_where_it_went():
    with pytest.raises(RewardError, match=r"rewards\.formats is now rewards\.text\.formats"):
        load("rewards.formats:accuracy_reward", {})
    assert load("rewards.text.formats:accuracy_reward", {}).dialect.name == "batch verifier"
