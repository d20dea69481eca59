"""A rollout engine is added from outside: a folder of its own, and one line of the table."""

import sys

import pytest
from typer.testing import CliRunner

from jobs.cli import app
from rlpeft.program.run import run
from rlpeft.recipe import rollout
from rlpeft.recipe.engines import ENGINES, Engine

FOLDER = '''
"""An engine that answers as transformers does, and counts what it is asked."""

from rlpeft.rollout.hf.build import build as build_hf

BUILT = []


class Counting:
    """Fulfils `rlpeft.rollout.engine.RolloutEngine`."""

    def __init__(self, spec, base):
        self.spec, self.requests, self.closed = spec, 0, 0
        self.hf = build_hf(spec, base)
        self.load_adapter, self.load_experts = self.hf.load_adapter, self.hf.load_experts
        self.logprobs = self.hf.logprobs

    def rollout(self, requests, sampling):
        self.requests += len(requests)
        return self.hf.rollout(requests, sampling)

    def close(self):
        self.closed += 1
        self.hf.close()


def build(spec, base):
    BUILT.append(Counting(spec, base))
    return BUILT[-1]
'''


@pytest.fixture
def counting(tmp_path, monkeypatch):
    """The engine's own module, once its folder and its line are there."""
    folder = tmp_path / "counting"
    folder.mkdir()
    (folder / "__init__.py").write_text(FOLDER)
    monkeypatch.syspath_prepend(tmp_path)
    line = Engine("counting:build", takes_options=True, expert_slots="places")
    monkeypatch.setitem(ENGINES, "counting", line)
    import counting

    yield counting
    del sys.modules["counting"]


@pytest.mark.slow
def test_a_run_goes_through_an_engine_from_outside(counting, quick, tmp_path):
    recipe = quick(rollout={"engine": "counting", "options": {"speed": 2}}, train={"steps": 2})
    summary = run(recipe, tmp_path / "run")
    (engine,) = counting.BUILT
    assert engine.spec == recipe.engine
    assert engine.requests == 2 * 4 + 2 * 8 + 2 * 8  # steps, validations, tests of base and best
    assert engine.closed == 1
    assert summary["digest"] == run(quick(train={"steps": 2}), tmp_path / "hf")["digest"]


def test_experts_of_a_search_get_their_places_in_it(counting):
    section = rollout.RolloutConfig(engine="counting").for_experts(5)
    assert section.options == {"places": 5}


@pytest.mark.parametrize(
    ("engine", "said"),
    [
        ("sglang", r"rollout\.engine must be one of hf, vllm, got 'sglang'\."),
        ("vlm", r"got 'vlm'\. Did you mean 'vllm'"),
    ],
)
def test_an_engine_that_has_no_line_is_refused_with_those_that_have(quick, engine, said):
    with pytest.raises(ValueError, match=said):
        quick(rollout={"engine": engine})


def test_the_schema_lists_the_engines():
    assert rollout.RolloutConfig.model_json_schema()["properties"]["engine"]["enum"] == [*ENGINES]


@pytest.mark.parametrize("command", [["generate"], ["serve"], ["models", "check", "tiny"]])
def test_commands_refuse_an_engine_that_has_no_line(command):
    result = CliRunner().invoke(app, [*command, "--engine", "sglang"])
    assert result.exit_code == 2
    assert "'sglang' is not one of 'hf', 'vllm'" in " ".join(result.output.split())
