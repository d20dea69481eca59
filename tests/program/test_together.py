"""Experts that are trained together end as their lone runs, bit for bit."""

import shutil
from contextlib import contextmanager

import pytest

from rlpeft.errors import EngineError, ModelError, RlpeftError
from rlpeft.models.folder import resolve_model
from rlpeft.program.run import run
from rlpeft.program.together import run_together
from rlpeft.tokens import specials

pytestmark = pytest.mark.slow


class CutOff(Exception):
    """Stands for whatever ends an expert."""


@pytest.fixture
def experts(quick):
    """A maker of three recipes that differ in all that they may."""

    def make(lr=0.05, **sections):
        return {
            "swap": quick(name="swap", learner={"lr": lr}, **sections),
            "ends": quick(
                name="ends",
                task={"name": "tiny/ends"},
                reward=[{"name": "math"}],
                rollout={"max_tokens": 4, "temperature": 0.8},
                learner={"lr": lr, "weight_decay": 0.1},
                train={"seed": 1, "steps": 3, "group_size": 3},
                **sections,
            ),
            "sort": quick(
                name="sort",
                task={"name": "tiny/sort"},
                loss={"kl_coef": 0.1, "advantage": "none"},
                learner={"lr": lr / 2, "schedule": "cosine", "token_budget": 200},
                train={"seed": 1, "eval_every": 1},
                **sections,
            ),
        }

    return make


def files(folder):
    """What lies in a run's folder, but for names of trackers that hold the time."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


@pytest.mark.parametrize(
    ("adapter", "lr"), [({"type": "svf"}, 0.05), ({"type": "lora", "rank": 2}, 0.002)]
)
def test_each_ends_as_its_lone_run_file_for_file(experts, tmp_path, decided, adapter, lr):
    recipes = experts(lr, adapter=adapter)
    found = run_together(recipes, tmp_path / "together")
    for name, recipe in recipes.items():
        lone = run(recipe, tmp_path / name)
        assert decided(tmp_path / "together" / name) == decided(tmp_path / name)
        assert files(tmp_path / "together" / name) == files(tmp_path / name)
        assert (found[name]["digest"], found[name]["test"]) == (lone["digest"], lone["test"])
        assert found[name]["base_test"] == lone["base_test"]


def test_they_take_their_steps_in_turn(experts, tmp_path):
    steps = []
    run_together(experts(), tmp_path, on_step=lambda name, at, _: steps.append((name, at.step)))
    for step in range(3):
        assert {*steps[3 * step : 3 * step + 3]} == {(name, step) for name in experts()}
    assert sorted(steps) == sorted(
        (name, step)
        for name, last in (("swap", 4), ("ends", 3), ("sort", 4))
        for step in range(last + 1)
    )


def test_one_that_fails_lets_the_others_go_on_and_goes_on_itself_later(
    experts, tmp_path, decided, capsys
):
    recipes, cuts = experts(), {"ends": 1, "sort": 2}

    def cut_off(name, progress, metrics):
        if cuts.get(name) == progress.step:
            raise CutOff(f"{name} is cut off")

    with pytest.raises(CutOff):
        run_together(recipes, tmp_path / "together", on_step=cut_off)
    assert "expert 'ends' ends here, the others go on: ends is cut off" in capsys.readouterr().err
    assert (tmp_path / "together/swap/summary.json").is_file()
    assert not (tmp_path / "together/ends/summary.json").exists()
    run_together(recipes, tmp_path / "together")
    for name, recipe in recipes.items():
        run(recipe, tmp_path / name)
        assert decided(tmp_path / "together" / name) == decided(tmp_path / name)


def test_what_stops_one_at_its_start_stops_all_before_anything_is_opened(experts, quick, tmp_path):
    opened = []

    @contextmanager
    def open_shared(recipes, base):
        opened.append(base)
        yield

    recipes = experts() | {"odd": quick(name="odd", rollout={"max_prompt_tokens": 1})}
    with pytest.raises(RlpeftError, match="max_prompt_tokens"):
        run_together(recipes, tmp_path, open_shared=open_shared)
    assert opened == []


def test_what_they_share_and_cannot_have_ends_all(experts, tmp_path):
    @contextmanager
    def open_shared(recipes, base):
        raise EngineError("there is no engine")
        yield

    with pytest.raises(EngineError, match="there is no engine"):
        run_together(experts(), tmp_path, open_shared=open_shared)


def test_a_template_that_never_ends_stops_all_before_a_thread_waits_for_it(
    experts, tmp_path, monkeypatch
):
    model = shutil.copytree(resolve_model("tiny"), tmp_path / "model")
    loop = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"
    (model / "chat_template.jinja").write_text(loop)
    monkeypatch.setattr(specials, "TEMPLATE_S", 0.3)
    with pytest.raises(ModelError, match="chat template must end"):
        run_together(experts(model={"name": str(model)}), tmp_path / "out")
