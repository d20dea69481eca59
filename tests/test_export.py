"""An export is the expert, for the programs it is meant for, or it is not there."""

import json
import shutil

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from rlpeft.compare import changes
from rlpeft.config import Ia3Adapter, LoraFamilyAdapter, SvfAdapter
from rlpeft.digests import model_digest
from rlpeft.errors import ExpertError
from rlpeft.experts import load_expert
from rlpeft.export import export_expert
from rlpeft.models import load_base_model, resolve_model
from rlpeft.policy import adapter_state, attach_adapter

TINY = resolve_model("tiny")
IDS = torch.arange(3, 27).reshape(2, 12)
TARGETS = ("q_proj", "down_proj")
ADAPTERS = {
    "svf": SvfAdapter(targets=TARGETS),
    "sigmoid": SvfAdapter(targets=TARGETS, parametrisation="sigmoid_renorm"),
    "lora": LoraFamilyAdapter(type="lora", targets=TARGETS, rank=2),
    "dora": LoraFamilyAdapter(type="dora", targets=TARGETS, rank=2),
    "ia3": Ia3Adapter(type="ia3"),
}


@pytest.fixture(scope="module")
def trained(make_expert):
    """A maker of experts on the tiny base, with the logits of the policy they were taken from."""

    def make(kind, scale=0.3):
        adapter = ADAPTERS[kind]
        policy = attach_adapter(load_base_model(TINY), adapter, seed=0)
        generator = torch.Generator().manual_seed(1)
        with torch.no_grad():
            for parameter in policy.parameters():
                if parameter.requires_grad:
                    parameter += scale * torch.randn(parameter.shape, generator=generator)
            logits = policy(IDS).logits
        state = adapter_state(policy, 1)
        folder = make_expert(
            kind,
            state.tensors,
            config=state.config,
            base_digest=model_digest(TINY),
            adapter=adapter.model_dump(),
        )
        return folder, logits

    return make


def logits_of(model):
    with torch.no_grad():
        return model(IDS).logits


@pytest.mark.parametrize("kind", ADAPTERS)
def test_a_peft_export_loads_with_peft_alone(trained, tmp_path, kind):
    folder, logits = trained(kind)
    export_expert(folder, tmp_path / "out", format="peft")
    base = AutoModelForCausalLM.from_pretrained(TINY, dtype=torch.float32)
    loaded = PeftModel.from_pretrained(base, tmp_path / "out").eval()
    torch.testing.assert_close(logits_of(loaded), logits)


@pytest.mark.parametrize("kind", ADAPTERS)
def test_a_merged_export_loads_with_transformers_alone(trained, tmp_path, kind):
    folder, logits = trained(kind)
    export_expert(folder, tmp_path / "out", format="merged", dtype="float32")
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path / "out").eval()
    torch.testing.assert_close(logits_of(loaded), logits, atol=1e-4, rtol=1e-4)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "out")
    assert tokenizer.get_vocab() == AutoTokenizer.from_pretrained(TINY).get_vocab()


def test_a_merged_export_keeps_the_dtype_of_the_base(trained, tmp_path):
    folder, _ = trained("svf")
    export_expert(folder, tmp_path / "out", format="merged")
    stored = json.loads((TINY / "config.json").read_text())["dtype"]
    assert {str(t.dtype) for t in load_file(tmp_path / "out" / "model.safetensors").values()} == {
        f"torch.{stored}"
    }


@pytest.mark.parametrize("kind", ["svf", "sigmoid"])
def test_z_is_the_multiplier_of_each_module(trained, tmp_path, kind):
    folder, _ = trained(kind)
    export_expert(folder, tmp_path / "out", format="z")
    change = changes(load_expert(folder))
    written = load_file(tmp_path / "out" / "z.safetensors")
    assert written.keys() == change.keys()
    for module, z in written.items():
        torch.testing.assert_close(z - 1, change[module], atol=1e-6, rtol=1e-5)


def test_z_of_another_method_is_refused(trained, tmp_path):
    folder, _ = trained("lora")
    with pytest.raises(ExpertError, match=r"--format z needs an SVF expert.*'lora'"):
        export_expert(folder, tmp_path / "out", format="z")
    assert list(tmp_path.iterdir()) == []


def test_the_receipt_names_files_sizes_and_differences(trained, tmp_path):
    folder, _ = trained("svf")
    receipt = export_expert(folder, tmp_path / "out", format="merged", dtype="float32")
    for name, size in receipt.files.items():
        assert (tmp_path / "out" / name).stat().st_size == size
    assert {"model.safetensors", "config.json", "tokenizer.json"} <= receipt.files.keys()
    assert receipt.gap < 1e-3 < receipt.effect
    assert json.loads((tmp_path / "out" / "export.json").read_text())["gap"] == receipt.gap


def test_a_merge_that_rounds_the_expert_away_is_refused(trained, tmp_path):
    # bf16 keeps eight bits: most of a change of 1 + 1e-4 is lost in the weights.
    folder, _ = trained("svf", scale=1e-4)
    with pytest.raises(ExpertError, match="--dtype float32"):
        export_expert(folder, tmp_path / "out", format="merged", dtype="bfloat16")
    assert list(tmp_path.iterdir()) == []


def test_another_base_is_refused_with_both_digests(trained, tmp_path, llama):
    folder, _ = trained("svf")
    other = shutil.copytree(TINY, tmp_path / "other")
    llama(vocab_size=40).save_pretrained(other)
    with pytest.raises(ExpertError) as error:
        export_expert(folder, tmp_path / "out", format="peft", base=str(other))
    assert model_digest(TINY)[:12] in str(error.value)
    assert model_digest(other)[:12] in str(error.value)
    assert not (tmp_path / "out").exists()


def test_an_existing_folder_is_left_alone(trained, tmp_path):
    folder, _ = trained("svf")
    (tmp_path / "out").mkdir()
    with pytest.raises(ExpertError, match="--force"):
        export_expert(folder, tmp_path / "out", format="z")
    assert list((tmp_path / "out").iterdir()) == []


def test_force_replaces_an_earlier_export(trained, tmp_path):
    folder, _ = trained("svf")
    export_expert(folder, tmp_path / "out", format="peft")
    export_expert(folder, tmp_path / "out", format="z", force=True)
    assert {f.name for f in (tmp_path / "out").iterdir()} == {
        "card.json",
        "export.json",
        "z.safetensors",
    }
    assert [f.name for f in tmp_path.iterdir()] == ["out"]


def test_force_never_removes_what_no_export_wrote(trained, tmp_path):
    folder, _ = trained("svf")
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "thesis.tex").write_text("precious")
    with pytest.raises(ExpertError, match="earlier exports only"):
        export_expert(folder, tmp_path / "home", format="z", force=True)
    assert (tmp_path / "home" / "thesis.tex").read_text() == "precious"
