"""A whole run on a quantised base: trained, continued, evaluated and exported, and of no other."""

import json

import pytest
import torch
from typer.testing import CliRunner

from jobs.cli import app
from rlpeft.errors import ExpertError
from rlpeft.experts.files import load_expert, read_card
from rlpeft.models.base import BaseModel
from rlpeft.models.probe import logprobs, probe_rows
from rlpeft.program.run import run

pytest.importorskip("torchao")
pytest.importorskip("bitsandbytes")

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


def recipe(quick, quantisation, **sections):
    return quick(model={"quantisation": quantisation}, **sections)


def typed(*words):
    result = CliRunner().invoke(app, [str(word) for word in words])
    assert result.exit_code == 0, result.output
    return result.stdout


@pytest.mark.parametrize("quantisation", ["int8", "nf4"])
def test_a_run_ends_with_an_expert_of_this_base_alone(quick, tmp_path, quantisation):
    summary = run(recipe(quick, quantisation), tmp_path / "run")
    folder = tmp_path / "run" / "expert"
    card = read_card(folder)
    base = BaseModel.open("tiny").quantised(quantisation)
    assert (card.quantisation, card.base_digest) == (quantisation, base.digest)
    assert summary["export_format"] == "peft"
    load_expert(folder, base_digest=base.digest)
    with pytest.raises(ExpertError, match="tiny in " + quantisation):
        load_expert(folder, base_digest=BaseModel.open("tiny").digest)


def test_what_was_cut_goes_on_as_if_it_had_not_been(quick, tmp_path):
    whole = recipe(quick, "int8", train={"steps": 4, "eval_every": 2})
    first = recipe(quick, "int8", train={"steps": 4, "eval_every": 2})
    expected = run(whole, tmp_path / "whole")["digest"]

    class Cut(Exception):
        pass

    def cut(progress, metrics):
        if progress.step == 2:
            raise Cut

    with pytest.raises(Cut):
        run(first, tmp_path / "cut", on_step=cut)
    assert run(first, tmp_path / "cut")["digest"] == expected


def test_commands_open_the_base_as_the_card_says(quick, tmp_path):
    run(recipe(quick, "int8"), tmp_path / "run")
    expert = tmp_path / "run" / "expert"
    shown = json.loads(typed("evaluate", expert, "--num", 4, "--json"))
    assert shown["base_digest"] == BaseModel.open("tiny").quantised("int8").digest
    typed("generate", "3714@=", "--experts", tmp_path / "run", "--strategy", read_card(expert).name)


def test_its_peft_folder_loads_as_its_readme_says(quick, tmp_path):
    """By the code that stands there, and not by ours."""
    run(recipe(quick, "int8"), tmp_path / "run")
    out = tmp_path / "peft"
    typed("export", tmp_path / "run" / "expert", "--format", "peft", "--out", out)
    text = (out / "README.md").read_text()
    code = next(part for part in text.split("```python\n")[1:] if "PeftModel" in part)
    names = {}
    lines = code.split("```")[0].replace('(base, ".")', f'(base, "{out}")')
    exec(compile(lines, "README.md", "exec"), names)
    probe = probe_rows(names["base"].config)
    base = BaseModel.open("tiny").quantised("int8").model()
    with names["model"].disable_adapter():
        assert torch.equal(
            torch.tensor(logprobs(names["model"].eval(), probe)[0]),
            torch.tensor(logprobs(base, probe)[0]),
        )


def test_merging_is_refused_before_anything_is_loaded(quick, tmp_path):
    run(recipe(quick, "int8"), tmp_path / "run")
    words = ["export", tmp_path / "run" / "expert", "--format", "merged", "--out", tmp_path / "m"]
    result = CliRunner().invoke(app, [str(word) for word in words])
    assert result.exit_code != 0
    assert not (tmp_path / "m").exists()
