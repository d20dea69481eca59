"""An export is the expert, for the programs it is meant for, or it is not there."""

import json
import shutil
import subprocess
import sys

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from rlpeft.adapter_state import tensors_digest
from rlpeft.adapters.policy import adapter_state, attach_adapter
from rlpeft.errors import ExpertError, RlpeftError
from rlpeft.experts.change import changes
from rlpeft.experts.export import export_expert
from rlpeft.experts.files import load_expert
from rlpeft.experts.model_card import model_card
from rlpeft.files import write_jsonl
from rlpeft.models.digest import model_digest
from rlpeft.models.folder import resolve_model
from rlpeft.models.load import load_base_model
from rlpeft.recipe.run import HypLoraAdapter, Ia3Adapter, LoraFamilyAdapter, SvfAdapter
from rlpeft.runs.records import completions_path
from rlpeft.runs.specimen import TOKENS

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
BENT = {"hyplora": HypLoraAdapter(type="hyplora", targets=TARGETS, rank=2)}
TIED = {
    "head": LoraFamilyAdapter(type="lora", targets=("lm_head", "q_proj"), rank=2),
    "embedding": LoraFamilyAdapter(type="lora", targets=("embed_tokens", "q_proj"), rank=2),
    "head in svf": SvfAdapter(targets=("lm_head", "q_proj")),
}
"""Of what the base has once, as head and as embedding."""


@pytest.fixture(scope="module")
def trained(make_expert):
    """A maker of experts on the tiny base, with the logits of the policy they were taken from."""

    def make(kind, scale=0.3):
        adapter = (ADAPTERS | BENT | TIED)[kind]
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


def broken(folder, to, *, tensors=None, config=None, card=None):
    """A copy of an expert whose files were changed, with digests that fit all the same."""
    copy = shutil.copytree(folder, to)
    held = load_file(copy / "adapter_model.safetensors")
    changed = held if tensors is None else tensors(held)
    save_file(changed, copy / "adapter_model.safetensors")
    for name, change in (("adapter_config.json", config), ("card.json", card)):
        read = json.loads((copy / name).read_text()) | (change or {})
        if name == "card.json":
            read["digest"] = tensors_digest(changed)
        (copy / name).write_text(json.dumps(read))
    return copy


def without_first(tensors):
    return {name: tensors[name] for name in sorted(tensors)[1:]}


def with_first(change):
    return lambda tensors: tensors | {min(tensors): change(tensors[min(tensors)])}


@pytest.mark.parametrize("kind", ["svf", "lora"])
@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        (without_first, r"'base_model.*' is missing"),
        (with_first(lambda t: t[..., :-1].contiguous()), r"'base_model.*' must be of shape"),
        (with_first(lambda t: t * float("nan")), r"'base_model.*' has NaN or infinity"),
        (lambda held: held | {"base_model.model.x.svf_z": torch.ones(3)}, "has none"),
    ],
    ids=["missing", "misshapen", "nan", "foreign"],
)
def test_tensors_that_are_not_the_experts_are_refused_by_name(
    trained, tmp_path, kind, tensors, message
):
    folder = broken(trained(kind)[0], tmp_path / "broken", tensors=tensors)
    with pytest.raises(ExpertError, match=message):
        export_expert(folder, tmp_path / "out", format="peft")
    assert not (tmp_path / "out").exists()


def test_a_config_of_another_method_is_refused(trained, tmp_path):
    folder = broken(trained("svf")[0], tmp_path / "broken", config={"peft_type": "LORA"})
    with pytest.raises(ExpertError, match=r"must be of peft_type 'SVF'.*got 'LORA'"):
        export_expert(folder, tmp_path / "out", format="merged")


@pytest.mark.parametrize("format", ["peft", "merged", "z"])
def test_targets_that_leave_tensors_out_are_refused(trained, tmp_path, format):
    folder = broken(trained("svf")[0], tmp_path / "broken", config={"target_modules": ["q_proj"]})
    with pytest.raises(ExpertError, match="must be of target_modules"):
        export_expert(folder, tmp_path / "out", format=format)


@pytest.mark.parametrize(
    "config",
    [
        {"use_rslora": True},
        {"alpha_pattern": {"q_proj": 33.0}},
        {"rank_pattern": {"q_proj": 2}},
        {"target_modules": "(a+)+$"},
        {"exclude_modules": ["q_proj"]},
        {"modules_to_save": ["lm_head"]},
        {"init_lora_weights": "pissa"},
        {"megatron_config": {"a": 1}},
    ],
    ids=lambda config: next(iter(config)),
)
def test_an_option_that_the_card_does_not_mean_is_refused_by_name(trained, tmp_path, config):
    folder = broken(trained("lora")[0], tmp_path / "broken", config=config)
    with pytest.raises(ExpertError, match=f"must be of {next(iter(config))} .*as its card means"):
        export_expert(folder, tmp_path / "out", format="peft")
    assert not (tmp_path / "out").exists()


def test_options_of_a_stranger_are_not_passed_on(trained, tmp_path):
    odd = {"auto_mapping": {"parent_library": "os"}, "of_a_later_version": 1, "loftq_config": None}
    folder = broken(trained("lora")[0], tmp_path / "broken", config=odd)
    export_expert(folder, tmp_path / "out", format="peft")
    written = json.loads((tmp_path / "out" / "adapter_config.json").read_text())
    assert written["auto_mapping"] is None
    assert "of_a_later_version" not in written


def test_a_dtype_is_refused_where_no_weights_are_merged(trained, tmp_path):
    with pytest.raises(ExpertError, match="--dtype is of merged weights, --format peft has none"):
        export_expert(trained("svf")[0], tmp_path / "out", format="peft", dtype="bfloat16")


def test_a_config_that_means_another_update_is_refused(trained, tmp_path):
    """alpha 32 became 40: a quarter of the effect too much, less than half the way to the base."""
    folder = broken(trained("lora")[0], tmp_path / "broken", config={"lora_alpha": 40.0})
    with pytest.raises(ExpertError, match=r"must be of lora_alpha 32.0, as its card says"):
        export_expert(folder, tmp_path / "out", format="peft")


def test_the_curve_of_its_run_is_in_the_readme_of_a_peft_export(trained, tmp_path):
    folder, _ = trained("svf")
    row = {"step": 4, "reward": 0.25, "eval_accuracy": 0.5, "eval_accuracy_low": 0.375}
    write_jsonl(folder.parent / "metrics.jsonl", [row])
    export_expert(folder, tmp_path / "out", format="peft")
    assert "| 4 | 0.500 | 0.375 | - | 0.250 |" in (tmp_path / "out" / "README.md").read_text()


@pytest.mark.slow
def test_the_readme_of_a_peft_export_loads_it(trained, tmp_path):
    folder, logits = trained("svf")
    export_expert(folder, tmp_path / "out", format="peft")
    text = (tmp_path / "out" / "README.md").read_text()
    code = text.split("```python\n")[1].split("```")[0]
    torch.save(IDS, tmp_path / "ids.pt")
    code += "import torch; torch.save(model(torch.load('../ids.pt')).logits, '../logits.pt')"
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path / "out", check=True)
    torch.testing.assert_close(torch.load(tmp_path / "logits.pt"), logits)
    card = load_expert(folder).card
    assert card.base_digest in text
    assert card.digest in text


@pytest.mark.parametrize("format", ["peft", "merged"])
def test_an_export_says_which_attention_its_base_wants(tiny_model, make_expert, tmp_path, format):
    """Gemma 2 caps attention scores; transformers' default leaves the cap out, and says nothing."""
    model = tiny_model(
        "gemma2", vocab_size=280, attn_logit_softcapping=0.1, query_pre_attn_scalar=1
    )
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(0)
        for parameter in model.parameters():
            parameter.normal_(0, 0.3)
    model.save_pretrained(tmp_path / "base")
    AutoTokenizer.from_pretrained(TINY).save_pretrained(tmp_path / "base")
    adapter = SvfAdapter()
    policy = attach_adapter(load_base_model(tmp_path / "base"), adapter, seed=0)
    with torch.no_grad():
        for parameter in policy.parameters():
            if parameter.requires_grad:
                parameter.mul_(1.2)
    state = adapter_state(policy, 1)
    folder = make_expert(
        f"capped-{format}",
        state.tensors,
        config=state.config,
        base_model=str(tmp_path / "base"),
        base_digest=model_digest(tmp_path / "base"),
        adapter=adapter.model_dump(),
    )
    out = tmp_path / "out"
    receipt = export_expert(folder, out, format=format)
    if format == "merged":
        assert "attn_implementation='eager'" in receipt.note
        model = AutoModelForCausalLM.from_pretrained(out, attn_implementation="eager")
    else:
        code = (out / "README.md").read_text().split("```python\n")[1].split("```")[0]
        names = {}
        exec(code.replace('"."', repr(str(out))), names)
        model = names["model"]
    torch.testing.assert_close(logits_of(model.eval()), logits_of(policy.eval()))


@pytest.mark.filterwarnings(
    "ignore:Model has `tie_word_embeddings=True`", "ignore:You have added a"
)
@pytest.mark.parametrize("kind", TIED)
def test_a_matrix_that_the_base_ties_is_merged_into_its_own_place_alone(trained, tmp_path, kind):
    """The head of `tiny` is its embedding, which must stay as it is where the head is merged."""
    folder, logits = trained(kind, scale=0.05)
    receipt = export_expert(folder, tmp_path / "out", format="merged", dtype="float32")
    assert "tie_word_embeddings = false" in receipt.note
    merged = AutoModelForCausalLM.from_pretrained(tmp_path / "out").eval()
    torch.testing.assert_close(logits_of(merged), logits, atol=1e-3, rtol=1e-4)
    base = AutoModelForCausalLM.from_pretrained(TINY, dtype=torch.float32)
    embedding, head = merged.get_input_embeddings().weight, merged.lm_head.weight
    untouched = head if kind == "embedding" else embedding
    assert torch.equal(untouched, base.get_input_embeddings().weight)
    assert not torch.equal(embedding, head)


def test_a_base_is_named_as_others_find_it(trained, tmp_path):
    folder, _ = trained("lora")
    receipt = export_expert(folder, tmp_path / "here", format="peft")
    named = json.loads((tmp_path / "here" / "adapter_config.json").read_text())
    assert named["base_model_name_or_path"] == str(TINY.resolve())
    assert "--base-id" in receipt.note
    receipt = export_expert(folder, tmp_path / "hub", format="peft", base_id="owner/base")
    named = json.loads((tmp_path / "hub" / "adapter_config.json").read_text())
    assert named["base_model_name_or_path"] == "owner/base"
    readme = (tmp_path / "hub" / "README.md").read_text()
    assert 'base_model: "owner/base"' in readme
    assert "import rlpeft" not in readme  # PEFT knows LoRA
    assert receipt.note == ""


@pytest.mark.parametrize(
    ("format", "base_id"), [("merged", "owner/base"), ("peft", "base"), ("peft", "../base")]
)
def test_a_base_id_that_cannot_be_used_is_refused(trained, tmp_path, format, base_id):
    folder, _ = trained("svf")
    with pytest.raises(ExpertError, match="--base-id must be owner/name"):
        export_expert(folder, tmp_path / "out", format=format, base_id=base_id)


def test_names_on_a_card_cannot_leave_their_place_in_the_readme(make_expert):
    folder = make_expert("x", {"q.svf_z": torch.ones(2)}, rewards=("a`\n# Title\n---\nb: c",))
    text = model_card(load_expert(folder).card, "owner/base")
    assert "\n# Title" not in text
    assert text.count("\n---\n") == 1


@pytest.mark.parametrize("rank", [64, 0.999])
def test_a_lora_of_high_rank_is_the_expert_nearly_and_says_what_it_leaves_out(
    trained, tmp_path, rank
):
    folder, _ = trained("svf")
    receipt = export_expert(folder, tmp_path / "out", format="lora", rank=rank)
    loaded = PeftModel.from_pretrained(load_base_model(TINY), tmp_path / "out").eval()
    assert loaded.peft_config["default"].peft_type == "LORA"
    assert receipt.gap < 0.5 * receipt.effect
    exact = changes(load_expert(folder))
    assert receipt.errors.keys() == exact.keys()
    assert all(0 < error < 0.5 for error in receipt.errors.values())
    if rank < 1:  # that share of the squares is kept, so its rest is left out
        assert all(error <= (1 - rank) ** 0.5 + 1e-6 for error in receipt.errors.values())


def test_a_lora_of_a_lora_is_the_expert(trained, tmp_path):
    folder, _ = trained("lora")
    receipt = export_expert(folder, tmp_path / "out", format="lora", rank=2)
    assert receipt.gap < 1e-3
    assert max(receipt.errors.values()) < 1e-4


@pytest.fixture
def bent(trained, tmp_path):
    """A geometric expert in the folder of a run that has recorded what was answered."""
    run = tmp_path / "run"
    shutil.copytree(trained("hyplora", scale=0.05)[0], run / "expert")
    rows = [
        {"prompt": {"ids": row[:5]}, "sampled": {"ids": row[5:]}, "trained": True}
        for row in torch.arange(3, 75).reshape(6, 12).tolist()
    ]
    path = completions_path(run, 1)
    path.parent.mkdir()
    pq.write_table(pa.table({"tokens": pa.array([*rows, None], TOKENS)}), path)
    return run / "expert"


def test_a_geometric_expert_becomes_a_lora_near_it_on_the_answers_of_its_run(bent, tmp_path):
    receipt = export_expert(bent, tmp_path / "out", format="lora", rank=2)
    assert receipt.gap < 0.5 * receipt.effect
    assert all(0 < error < 0.5 for error in receipt.errors.values())
    assert "leaves out" in receipt.note
    loaded = PeftModel.from_pretrained(load_base_model(TINY), tmp_path / "out").eval()
    assert loaded.peft_config["default"].peft_type == "LORA"
    with pytest.raises(ExpertError, match=r"leaves out .* Raise --rank"):
        export_expert(bent, tmp_path / "less", format="lora", rank=1)


@pytest.mark.parametrize(
    ("rank", "said"),
    [(3, "must have at most its rank, 2 in"), (0.5, "must be a whole number for a")],
)
def test_a_rank_that_no_lora_near_a_geometric_expert_has_is_refused(bent, tmp_path, rank, said):
    with pytest.raises(RlpeftError, match=said):
        export_expert(bent, tmp_path / "out", format="lora", rank=rank)
    assert not (tmp_path / "out").exists()


def test_the_error_of_a_lora_is_that_of_the_directions_it_lacks(trained, tmp_path):
    """Of SVF they are known: W' - W = U diag((z - 1) s) Vᵀ."""
    folder, _ = trained("svf")
    receipt = export_expert(folder, tmp_path / "out", format="lora", rank=64)
    weights = dict(load_base_model(TINY).named_parameters())
    for module, change in changes(load_expert(folder)).items():
        s = torch.linalg.svdvals(weights[f"{module}.weight"].double())
        moved = (change.double() * s).square().sort(descending=True).values
        assert receipt.errors[module] == pytest.approx(
            float((moved[64:].sum() / moved.sum()).sqrt()), rel=1e-3
        )


@pytest.mark.filterwarnings("ignore:Model has `tie_word_embeddings=True`")
@pytest.mark.parametrize(
    ("kind", "options", "said"),
    [
        (
            "svf",
            {"rank": 5000},
            r"at most 128 for 'model.layers.0.\S+' \(128 x 128\), got 5000. Low",
        ),
        (
            "ia3",
            {"rank": 4},
            r"an SVF, LoRA, HypLoRA, MoSLoRA expert, 'ia3' is of IA3.* Take --format peft or",
        ),
        ("dora", {"rank": 4}, "'dora' is of DoRA"),
        (
            "hyplora",
            {"rank": 4},
            r"HypLoRA expert is fitted to the answers.* --format peft\.$",
        ),
        (
            "embedding",
            {"rank": 4},
            "linear layers alone, the expert moves 'model.embed_tokens' too",
        ),
        ("svf", {}, "--rank must be a whole number, or a share above 0 and below 1, and goes with"),
        ("svf", {"rank": 2.5}, "--rank must be a whole number.* got 2.5"),
        ("svf", {"rank": 0}, "--rank must be a whole number"),
        ("svf", {"rank": float("inf")}, "--rank must be a whole number"),
        ("svf", {"rank": float("nan")}, "--rank must be a whole number"),
    ],
)
def test_a_lora_that_would_be_another_policy_is_refused(trained, tmp_path, kind, options, said):
    folder, _ = trained(kind)
    with pytest.raises(ExpertError, match=said):
        export_expert(folder, tmp_path / "out", format="lora", **options)
    assert list(tmp_path.iterdir()) == []


def test_a_lora_that_is_nearer_to_the_base_is_refused_with_what_it_leaves_out(trained, tmp_path):
    folder, _ = trained("svf", scale=3.0)
    with pytest.raises(ExpertError, match=r"leaves out .* Raise --rank"):
        export_expert(folder, tmp_path / "out", format="lora", rank=1)
    assert list(tmp_path.iterdir()) == []
