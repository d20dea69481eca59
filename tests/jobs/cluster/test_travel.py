"""What a job would not find on its machine is told before it is sent."""

import pytest

from jobs.cluster.submit import Work, submit
from jobs.cluster.travel import check_relative, named_by, run_folder
from rlpeft.errors import ConfigError
from rlpeft.recipe.adapt import AdaptRecipe
from rlpeft.recipe.run import parse_recipe

TINY = {
    "name": "a",
    "model": {"name": "tiny"},
    "task": {"name": "tiny/swap"},
    "reward": [{"name": "math"}],
}


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A working folder with data, a model and a reward of the user's."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "rows.jsonl").touch()
    (tmp_path / "base").mkdir()
    (tmp_path / "my_rewards.py").touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path


RELATIVE = [
    {"task": {"path": "data/rows.jsonl"}},
    {"task": {"path": "data"}},
    {"task": {"path": "elsewhere.jsonl"}},
    {"task": {"name": "kind", "options": {"tasks": [{"path": "data"}, {"name": "gsm8k"}]}}},
    {"model": {"name": "base"}},
    {"model": {"name": "tiny", "start": "base"}},
    {"model": {"name": "tiny", "merge": ["base"]}},
    {"reward": [{"name": "my_rewards:f"}]},
    {"reward": [{"name": "my_rewards.f"}]},
]


NOT_HERE = [{"model": {"name": "tiny", "start": "not/here/expert"}}]


@pytest.mark.parametrize("sections", RELATIVE + NOT_HERE)
def test_a_relative_path_that_does_not_travel_is_refused(here, sections):
    recipe = parse_recipe(TINY | sections, source="test")
    with pytest.raises(ConfigError, match=r"is relative: a job.*--working-dir \."):
        check_relative(named_by(recipe), None)


def test_what_lies_in_the_folder_that_travels_is_sent(here):
    for sections in RELATIVE[:2] + RELATIVE[3:]:
        check_relative(named_by(parse_recipe(TINY | sections, source="test")), here)


def test_what_lies_beside_the_folder_that_travels_is_refused(here, tmp_path):
    (here / "sent").mkdir()
    recipe = parse_recipe(TINY | {"task": {"path": "data/rows.jsonl"}}, source="test")
    with pytest.raises(ConfigError, match=r"must lie in the folder that travels.*no 'data/rows"):
        check_relative(named_by(recipe), here / "sent")


@pytest.mark.parametrize(
    "sections",
    [
        {"task": {"name": "hub", "path": "openai/gsm8k"}},
        {"task": {"path": "/shared/rows.jsonl"}},
        {"model": {"name": "owner/model"}},
        {"reward": [{"name": "math"}, {"name": "installed.package:f"}]},
    ],
)
def test_what_the_cluster_can_have_itself_may_be_named(here, sections):
    check_relative(named_by(parse_recipe(TINY | sections, source="test")), None)


def test_a_packaged_model_is_no_folder_of_that_name(here):
    (here / "tiny").mkdir()
    check_relative(named_by(parse_recipe(TINY, source="test")), None)


def test_what_lies_above_the_folder_that_travels_is_refused(here):
    (here / "sent").mkdir()
    with pytest.raises(ConfigError, match="must lie in the folder that travels"):
        check_relative([("task.path = '../data'", "../data")], here / "sent")


def test_experts_and_shots_of_a_search_travel(here):
    sections = {"experts": ["base", "ORG/NAME"], "shots": {"path": "data/rows.jsonl"}}
    recipe = AdaptRecipe.model_validate(TINY | sections)
    assert [path for _, path in named_by(recipe)] == ["base", "data/rows.jsonl"]


def test_submit_looks_before_it_sends(here):
    named = tuple(named_by(parse_recipe(TINY | RELATIVE[0], source="test")))
    with pytest.raises(ConfigError, match=r"task\.path = 'data/rows\.jsonl' is relative"):
        submit(Work(("train", "x"), "x", named=named), address="http://127.0.0.1:9")


def test_a_relative_run_folder_on_another_machine_is_refused(here):
    work, address = Work(("train", "quickstart"), "quickstart"), "http://cluster.example:8265"
    with pytest.raises(ConfigError, match="by its absolute path"):
        submit(work, address=address, out=here.relative_to("/"))


def test_a_run_folder_in_rays_copy_of_a_working_folder_is_refused(tmp_path, monkeypatch):
    copy = tmp_path / "session" / "runtime_resources" / "working_dir_files" / "_ray_pkg_0"
    copy.mkdir(parents=True)
    monkeypatch.chdir(copy)
    with pytest.raises(ConfigError, match=r"Add --out /DIR/quickstart"):
        run_folder(None, "quickstart")
    assert run_folder(tmp_path / "run", "quickstart") == tmp_path / "run"
