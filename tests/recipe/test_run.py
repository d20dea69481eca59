"""Recipes: defaults that work, mistakes that are named, overrides as people type them."""

import pytest

from rlpeft.errors import ConfigError
from rlpeft.recipe.run import Recipe, load_recipe, parse_recipe

NAME = 'name = "a"\n'
SECTIONS = '[model]\nname = "tiny"\n[task]\nname = "tiny/swap"\n'
TINY = NAME + SECTIONS


def write(tmp_path, text):
    path = tmp_path / "recipe.toml"
    path.write_text(text)
    return path


def test_a_recipe_names_itself_its_model_and_its_task_and_no_more(tmp_path):
    recipe = load_recipe(write(tmp_path, TINY))
    assert load_recipe(write(tmp_path, "\ufeff" + TINY)) == recipe  # as editors on Windows save it
    assert (recipe.name, recipe.model.name, recipe.task.name) == ("a", "tiny", "tiny/swap")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[task]\nname = "tiny/swap"', r"model must be given\. .* model\.name = '"),
        ('[model]\ndtype = "float32"\n', r"model\.name must be given"),
        ('[model]\nname = "tiny"', r"task must be given\. .* by task\.path"),
        (
            'name = "a"\n[model]\nname = "tiny"\n[task]\nnum_test = 9',
            r"task\.name must be given\. .* by task\.path",
        ),
    ],
)
def test_a_recipe_without_model_or_task_is_refused(tmp_path, text, message):
    with pytest.raises(ConfigError, match=message):
        load_recipe(write(tmp_path, text))


def test_a_path_without_a_task_name_means_rows_of_ones_own(tmp_path):
    text = 'name = "a"\n[model]\nname = "tiny"\n[task]\npath = "rows.jsonl"\n[[reward]]'
    task = load_recipe(write(tmp_path, text)).task
    assert (task.name, task.path) == ("jsonl", "rows.jsonl")


@pytest.mark.parametrize("task", ['path = "rows.jsonl"', 'name = "hub"\npath = "a/b"'])
def test_rows_of_ones_own_are_not_judged_by_a_default_reward(tmp_path, task):
    text = f'name = "a"\n[model]\nname = "tiny"\n[task]\n{task}'
    with pytest.raises(ConfigError, match=r"reward must be given.*reward = \[\{ name = "):
        load_recipe(write(tmp_path, text))


def test_a_search_over_rows_of_ones_own_names_its_reward_too():
    from rlpeft.recipe.adapt import AdaptRecipe
    from rlpeft.recipe.run import validated

    tree = {
        "name": "a",
        "experts": ["runs"],
        "model": {"name": "tiny"},
        "task": {"path": "r.jsonl"},
    }
    with pytest.raises(ConfigError, match="reward must be given"):
        validated(AdaptRecipe, tree, source="a")


@pytest.mark.parametrize("reward", ['reward = "math"', '[reward]\nname = "math"'])
def test_one_reward_that_is_no_list_is_answered_with_the_form_of_the_list(tmp_path, reward):
    with pytest.raises(ConfigError, match=r"reward must be a list, .*\[\[reward\]\]"):
        load_recipe(write(tmp_path, f"{NAME}{reward}\n{SECTIONS}"))


def test_a_search_names_its_model_and_its_task_too():
    from rlpeft.recipe.adapt import AdaptRecipe
    from rlpeft.recipe.run import validated

    with pytest.raises(ConfigError, match=r"model must be given.*task must be given"):
        validated(AdaptRecipe, {"name": "a", "experts": ["runs"]}, source="a")


def test_every_packaged_recipe_is_valid():
    from jobs.recipes import find_recipe, recipe_names

    for name in recipe_names():
        assert load_recipe(find_recipe(name)).name == name


@pytest.mark.parametrize(
    ("override", "read", "expected"),
    [
        ("learner.lr=1e-3", lambda r: r.learner.lr, 1e-3),
        ("train.steps = 7", lambda r: r.train.steps, 7),
        ("rollout.engine=vllm", lambda r: r.rollout.engine, "vllm"),
        ('adapter.targets=["q_proj"]', lambda r: r.adapter.targets, ("q_proj",)),
        (
            "rollout.options.enforce_eager=true",
            lambda r: r.rollout.options,
            {"enforce_eager": True},
        ),
        ("adapter.type=lora", lambda r: r.adapter.type, "lora"),
    ],
)
def test_overrides_take_toml_values_and_bare_words(tmp_path, override, read, expected):
    engine = "rollout.engine=vllm"  # no other takes options
    assert read(load_recipe(write(tmp_path, TINY), (engine, override))) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[learner]\nlearning_rate = 1", "unknown key 'learner.learning_rate'"),
        ("[learner]\nlr = -1", "learner.lr: .*greater than 0.*got -1"),
        ("[train]\ngroup_size = 1", "group_size must be at least 2"),
        ("[loss]\nwrong = -0.1", "loss.wrong must be absent where loss.advantage = 'rloo'"),
        ("[rollout]\ntop_p = 0.9", "top_p must be 1"),
        ('[rollout]\nstop = [""]', r"rollout.stop.0: .* at least 1 character"),
        ("[rollout]\ntemperature = inf", "rollout.temperature: .*finite"),
        ("[rollout]\ntemperature = 1e-39", "rollout.temperature: .*or equal to 0.01, got 1e-39"),
        ("[rollout]\ntemperature = 1e300", "rollout.temperature: .*or equal to 100"),
        ("[rollout]\nmax_tokens = 10000000000000000000000", "max_tokens: .*or equal to 16777216"),
        ("[rollout.options]\nform = 1", "options are for rollout.engine = 'vllm', the 'hf'"),
        (
            '[rollout]\nengine = "vllm"\noptions = { max_model_len = 9 }',
            r"options.max_model_len must not be set: rollout.max_prompt_tokens \+ rollout.max_tok",
        ),
        (
            '[rollout]\nengine = "vllm"\noptions = { seed = 9 }',
            "options.seed must not be set: train.seed decides it",
        ),
        ("[learner]\nwarmup_steps = 101", "warmup_steps must be at most"),
        (
            "[rollout]\nmax_lag = 1\n[loss]\nratio_cap = 0",
            r"loss\.ratio_cap must be above 0 with rollout\.max_lag = 1, got 0: .* to 0\.",
        ),
        (
            "[rollout]\nmax_lag = 2\n[train]\nresample_budget = 3",
            r"train\.resample_budget must be 0 with rollout\.max_lag = 2, got 3: .* to 0\.",
        ),
        ('[[reward]]\nname = "math"\nweight = 0', "must have a weight other than 0, all have 0"),
        ("reward = []", "at least one reward"),
        ('[adapter]\ntype = "prefix"', "adapter.*'prefix'"),
        ('train = "long"', "train must be a section of keys"),
        ("name = ", "must be TOML"),
    ],
)
def test_a_mistake_is_named(tmp_path, text, message):
    with pytest.raises(ConfigError, match=message) as error:
        load_recipe(write(tmp_path, f"{NAME}{text}\n{SECTIONS}"))
    assert "\n" not in str(error.value)


def test_a_recipe_of_an_earlier_version_may_say_that_nothing_is_truncated(tmp_path):
    rollout = load_recipe(write(tmp_path, f"{TINY}[rollout]\ntop_p = 1\ntop_k = 0")).rollout
    assert rollout == load_recipe(write(tmp_path, TINY)).rollout
    assert "top_p" not in rollout.model_dump()


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"existing TOML or YAML file, got .*nowhere\.toml"):
        load_recipe(tmp_path / "nowhere.toml")


@pytest.mark.parametrize("override", ["learner.lr", "=3", "name.deeper=1"])
def test_an_override_of_another_form_is_refused(tmp_path, override):
    with pytest.raises(ConfigError, match="--set"):
        load_recipe(write(tmp_path, TINY), (override,))


def test_a_recipe_survives_its_own_json():
    tree = {"name": "a", "model": {"name": "tiny"}, "task": {"name": "tiny/swap"}}
    recipe = parse_recipe(tree | {"adapter": {"type": "lora", "rank": 4}}, source="test")
    assert Recipe.model_validate_json(recipe.model_dump_json()) == recipe


NAMED = {"name": "x", "model": {"name": "tiny"}, "task": {"name": "tiny/swap"}}


@pytest.mark.parametrize(
    ("section", "name", "value"),
    [
        ("learner", "betas", [0.9, 1.0]),
        ("learner", "betas", [-0.1, 0.9]),
        ("learner", "betas", [float("nan"), 0.9]),
        ("learner", "lr", float("inf")),
        ("learner", "lr", float("nan")),
        ("learner", "max_grad_norm", float("inf")),
        ("rollout", "temperature", float("inf")),
        ("rollout", "canary_bound", float("nan")),
        ("loss", "kl_coef", float("inf")),
        ("train", "seed", -1),
        ("train", "seed", 2**32),
        ("train", "seed", 10**30),
        ("adapter", "alpha", float("inf")),
        ("resources", "engine_timeout_s", float("nan")),
    ],
)
def test_a_number_out_of_its_range_is_named(section, name, value):
    extra = {"type": "lora"} if section == "adapter" else {}
    with pytest.raises(ConfigError, match=name):
        parse_recipe({**NAMED, section: {**extra, name: value}}, source="r")


def test_several_learners_do_not_share_a_gpu():
    resources = {"learners": 2, "learner_gpus": 0.5}
    with pytest.raises(ConfigError, match=r"learner_gpus must be 0 or 1 with several .* got 0\.5"):
        parse_recipe({**NAMED, "resources": resources}, source="r")


def test_a_part_of_the_model_needs_others():
    with pytest.raises(ConfigError, match=r"'shard' needs several ranks, resources\.learners is 1"):
        parse_recipe({**NAMED, "learner": {"parallel": "shard"}}, source="r")


def test_a_reward_cannot_weigh_nothing_known():
    with pytest.raises(ConfigError, match="weight"):
        parse_recipe({**NAMED, "reward": [{"weight": float("nan")}]}, source="r")


@pytest.mark.parametrize(
    ("name", "cause"),
    [
        ("", "must be printable"),
        ("../x", "no slash"),
        ("a/b", "no slash"),
        (".x", "no dot"),
        ("a\nb", "printable"),
        ("x" * 101, "at most 100 bytes"),
        ("ü" * 51, "at most 100 bytes"),
    ],
)
def test_a_name_that_can_be_no_folder_is_refused(name, cause):
    with pytest.raises(ConfigError, match=cause):
        parse_recipe({**NAMED, "name": name}, source="r")


@pytest.mark.parametrize(
    ("file", "content", "cause"),
    [
        ("r.toml", b"x = " + b"[" * 20_000, "TOML: too many levels"),
        ("r.toml", b'name = "na\xefve"', "UTF-8, got byte 0xef"),
        ("r.toml", "name = 'x'".encode("utf-16"), "UTF-8, got byte 0xff"),
        ("r.toml", b"x = " + b"9" * 5000, "must be TOML"),
        ("r.json", b"[]", "must hold a JSON object"),
        ("r.json", b"[" * 100_000, "too many levels"),
        ("r.json", b'{"name": "\\ud800"}', "in Unicode"),
    ],
)
def test_a_file_that_is_no_recipe_is_named(tmp_path, file, content, cause):
    (tmp_path / file).write_bytes(content)
    with pytest.raises(ConfigError, match=cause):
        load_recipe(tmp_path / file)


def test_a_folder_in_the_place_of_a_recipe_is_named(tmp_path):
    with pytest.raises(ConfigError, match="folder where a file must be"):
        load_recipe(tmp_path)


@pytest.mark.parametrize("value", ["[" * 20_000, "9" * 5000, "\udcff"])
def test_an_override_that_is_no_value_is_refused(tmp_path, value):
    (tmp_path / "r.toml").write_text("name = 'x'")
    with pytest.raises(ConfigError):
        load_recipe(tmp_path / "r.toml", (f"task.name={value}",))


@pytest.mark.parametrize("select", ["accuracy", "score", "rewards/math", "rewards/tidy#2"])
def test_experts_may_be_chosen_by_a_metric_that_the_rewards_give(quick, select):
    rewards = [{"name": name} for name in ("math", "one:tidy", "other:tidy")]
    assert quick(reward=rewards, train={"select": select}).train.select == select


@pytest.mark.parametrize("select", ["precision", "rewards/length", "math"])
def test_a_metric_that_no_reward_gives_chooses_nothing(quick, select):
    with pytest.raises(ConfigError, match=r"train\.select must be one of .*rewards/exact"):
        quick(train={"select": select})
