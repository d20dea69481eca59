"""Experts on another base: the same numbers where the shapes agree, and a refusal elsewhere."""

import json

import pytest
import torch
from safetensors.torch import load_file
from typer.testing import CliRunner

from jobs.cli import app
from rlpeft.adapter_state import AdapterState
from rlpeft.errors import ExpertError
from rlpeft.experts.files import load_expert
from rlpeft.experts.transfer import require_transferable, transfer
from rlpeft.models.base import BaseModel
from rlpeft.models.digest import model_digest
from rlpeft.models.folder import resolve_model
from rlpeft.recipe.run import SvfAdapter


@pytest.fixture(scope="module")
def bases(tmp_path_factory):
    """Copies of the tiny base with other shapes; weights are random, shapes are all that counts."""
    import shutil

    from transformers import AutoConfig, AutoModelForCausalLM

    def make(name, **changes):
        folder = tmp_path_factory.mktemp("bases") / name
        shutil.copytree(resolve_model("tiny"), folder)
        config = AutoConfig.from_pretrained(folder, **changes)
        AutoModelForCausalLM.from_config(config).save_pretrained(folder)
        return str(folder)

    config = AutoConfig.from_pretrained(resolve_model("tiny"))
    layers = config.num_hidden_layers
    return {
        "same": make("same"),
        "deeper": make("deeper", num_hidden_layers=layers + 1),
        "shallower": make("shallower", num_hidden_layers=layers - 1),
        "narrower": make("narrower", intermediate_size=config.hidden_size - 8),
    }


@pytest.fixture(scope="module")
def expert(make_expert, tiny_start):
    """An expert of the tiny base, of distinct numbers."""
    generator = torch.Generator().manual_seed(0)
    tensors = {
        n: 1 + torch.rand(z.shape, generator=generator) for n, z in tiny_start.tensors.items()
    }
    test = {"value": 1.0, "low": 0.9, "high": 1.0, "correct": 9, "total": 9}
    return make_expert(
        "swap",
        tensors,
        config=dict(tiny_start.config),
        adapter={"type": "svf"},
        base_digest=model_digest(resolve_model("tiny")),
        test=test,
        start_test=test,
        tasks={"swap": {"section": {"name": "tiny/swap"}, "test": test}},
        against_start={"value": 0.1, "low": 0.0, "high": 0.2, "problems": 9, "judged": True},
    )


def test_the_same_numbers_stand_on_the_other_base(expert, bases, tmp_path):
    card = transfer(expert, bases["same"], tmp_path / "out", shuffle_seed=None)
    moved, before = load_expert(tmp_path / "out"), load_expert(expert)
    assert moved.card.digest == before.card.digest
    assert card.base_digest == model_digest(bases["same"]) != before.card.base_digest
    assert card.transfer.parent == before.card.digest
    assert card.transfer.base_digest == before.card.base_digest
    # It was not measured there.
    assert (card.test, card.start_test, card.against_start) == (None, None, None)
    assert (card.tasks["swap"].section, card.tasks["swap"].test) == ({"name": "tiny/swap"}, None)
    load_expert(tmp_path / "out", base_digest=model_digest(bases["same"]))


def test_the_control_keeps_each_vectors_numbers_and_moves_them(expert, bases, tmp_path):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        transfer(expert, bases["same"], tmp_path / name, shuffle_seed=seed)
    a, b, c = (load_expert(tmp_path / name).tensors for name in "abc")
    before = load_file(expert / "adapter_model.safetensors")
    for name, vector in before.items():
        assert torch.equal(a[name].sort().values, vector.sort().values)
        assert not torch.equal(a[name], vector)
        assert torch.equal(a[name], b[name])
        assert not torch.equal(a[name], c[name])


@pytest.mark.parametrize(
    ("base", "message"),
    [
        ("deeper", r"'model\.layers\.\d+\.mlp\.down_proj' is absent in expert 'swap', of rank"),
        ("shallower", r"'model\.layers\.\d+\.mlp\.down_proj' is of rank \d+ in .* absent in model"),
        ("narrower", r"'model\.layers\.0\.mlp\.down_proj' is of rank \d+ in .*, of rank \d+ in"),
    ],
)
def test_another_structure_is_refused_by_its_first_difference(
    expert, bases, tmp_path, base, message
):
    with pytest.raises(ExpertError, match=message):
        transfer(expert, bases[base], tmp_path / "out", shuffle_seed=None)
    assert not (tmp_path / "out").exists()


def test_only_svf_can_be_transferred(make_expert, bases, tmp_path):
    lora = make_expert("lora", {"x.lora_A.weight": torch.ones(2, 2)}, config={"peft_type": "LORA"})
    with pytest.raises(ExpertError, match=r"only SVF experts .* is LORA"):
        transfer(lora, bases["same"], tmp_path / "out", shuffle_seed=None)


def test_a_transferred_expert_runs_on_its_new_base(expert, bases, tmp_path):
    from rlpeft.build import build_engine
    from rlpeft.recipe.run import EngineSpec, ModelConfig

    transfer(expert, bases["same"], tmp_path / "out", shuffle_seed=3)
    spec = EngineSpec(model=ModelConfig(name=bases["same"]), adapter=SvfAdapter())
    engine = build_engine(spec, BaseModel.open(spec.model.name))
    state: AdapterState = load_expert(tmp_path / "out").state()
    assert engine.load_adapter(state).digest == state.digest


def test_the_command_says_what_it_wrote_and_never_overwrites(expert, bases, tmp_path):
    out = str(tmp_path / "out")
    arguments = ["experts", "transfer", str(expert), "--to", bases["same"], "--out", out]
    result = CliRunner().invoke(app, [*arguments, "--shuffle", "--seed", "5", "--json"])
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["card"]["transfer"]["shuffle_seed"] == 5
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 1
    assert "must be a new folder" in result.output


def test_a_base_is_no_other_base_of_its_own():
    tiny = BaseModel.open("tiny")
    with pytest.raises(ExpertError, match=r"another base than its own, 'tiny' has the weights"):
        require_transferable(SvfAdapter(), tiny, tiny)


def test_another_structure_is_refused_before_there_is_an_expert(bases):
    tiny, other = BaseModel.open("tiny"), BaseModel.open(bases["narrower"])
    with pytest.raises(ExpertError, match=r"down_proj' is of rank 128 in model 'tiny', of rank"):
        require_transferable(SvfAdapter(), tiny, other)


def test_a_base_of_the_same_shape_is_taken(bases):
    require_transferable(SvfAdapter(), BaseModel.open("tiny"), BaseModel.open(bases["same"]))
