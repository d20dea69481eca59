"""`rlpeft export` and `rlpeft report`: what they print, and how a mistake is told."""

import json

import pytest
import torch
from typer.testing import CliRunner

from jobs.cli import app
from rlpeft.adapters.policy import adapter_state, attach_adapter
from rlpeft.models.digest import model_digest
from rlpeft.models.folder import resolve_model
from rlpeft.models.load import load_base_model
from rlpeft.recipe.run import HypLoraAdapter, SvfAdapter
from rlpeft.runs.records import RunRecorder


@pytest.fixture(scope="module")
def expert(make_expert):
    return make_expert(
        "swap",
        {"base_model.model.model.layers.0.self_attn.q_proj.svf_z": torch.linspace(0.5, 1.5, 128)},
        base_digest=model_digest(resolve_model("tiny")),
        config={"peft_type": "SVF", "parametrisation": "direct", "decomposition": "gram"},
        adapter=SvfAdapter(targets=("q_proj",), layers=(0,)).model_dump(),
    )


def invoke(*arguments):
    return CliRunner().invoke(app, list(map(str, arguments)))


def test_export_prints_files_and_differences(expert, tmp_path):
    result = invoke("export", expert, "--format", "z", "--out", tmp_path / "out")
    assert result.exit_code == 0, result.output
    assert "z.safetensors" in result.stdout
    assert "read back, its log-probs differ from the expert's by at most 0 " in result.stdout


def test_export_prints_its_receipt_as_one_json_document(expert, tmp_path):
    result = invoke("export", expert, "--out", tmp_path / "out", "--json")
    receipt = json.loads(result.stdout)
    assert receipt["format"] == "merged"
    assert receipt == json.loads((tmp_path / "out" / "export.json").read_text())


def test_export_says_what_merged_weights_are_rounded_to_and_what_that_costs(expert, tmp_path):
    result = invoke("export", expert, "--out", tmp_path / "whole", "--dtype", "float32")
    assert "its weights are float32, as the base" in result.stdout
    result = invoke("export", expert, "--out", tmp_path / "out", "--dtype", "bfloat16")
    said = " ".join(result.stdout.split())
    receipt = json.loads((tmp_path / "out" / "export.json").read_text())
    assert receipt["dtype"] == "bfloat16"
    share = f"{receipt['gap'] / receipt['effect']:.1%}"
    assert f"is given: rounding them costs at most {share} of what the expert changes" in said
    assert "--dtype float32 keeps it whole" in said


def test_a_folder_in_the_way_is_one_line_and_exit_code_one(expert, tmp_path):
    result = invoke("export", expert, "--out", tmp_path)
    assert result.exit_code == 1
    assert result.stderr.count("\n") == 1
    assert "--force" in result.stderr


def test_merging_a_geometric_expert_is_refused_with_the_reason_and_a_way_out(make_expert, tmp_path):
    adapter = HypLoraAdapter(type="hyplora", targets=("q_proj",), layers=(0,), rank=2)
    policy = attach_adapter(load_base_model(resolve_model("tiny")), adapter, seed=0)
    state = adapter_state(policy, 0)
    folder = make_expert(
        "bent",
        dict(state.tensors),
        config=dict(state.config),
        base_digest=model_digest(resolve_model("tiny")),
        adapter=adapter.model_dump(),
    )
    result = invoke("export", folder, "--format", "merged", "--out", tmp_path / "out")
    assert result.exit_code == 1
    assert "depends on the token, not a matrix" in result.stderr
    assert "export_approx" in result.stderr
    assert not (tmp_path / "out").exists()
    assert invoke("export", folder, "--format", "peft", "--out", tmp_path / "out").exit_code == 0


def test_report_says_where_the_page_is(tmp_path):
    recipe = {"name": "x", "model": {"name": "tiny"}, "task": {"name": "tiny/swap"}}
    recorder = RunRecorder(tmp_path, recipe)
    recorder.metrics(1, {"reward": 0.5})
    recorder.close()
    result = invoke("report", tmp_path, "--json")
    page = tmp_path / "report.html"
    assert json.loads(result.stdout) == {"report": str(page), "bytes": page.stat().st_size}


def test_report_of_no_run_is_one_line_and_exit_code_one(tmp_path):
    result = invoke("report", tmp_path)
    assert result.exit_code == 1
    assert result.stderr.startswith("error: a report needs a run folder")
