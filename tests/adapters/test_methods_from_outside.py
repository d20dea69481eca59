"""A method from outside: a folder of its own, a line of `METHODS` and a line of `SECTIONS`."""

import json
import sys

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from typer.testing import CliRunner

from jobs.cli import app
from jobs.evaluate import evaluate_expert
from rlpeft.adapters.methods import METHODS
from rlpeft.adapters.policy import adapter_state, attach_adapter
from rlpeft.errors import ConfigError, EngineError
from rlpeft.experts.change import difference
from rlpeft.experts.files import load_expert
from rlpeft.models.folder import resolve_model
from rlpeft.models.load import load_base_model
from rlpeft.program.run import run
from rlpeft.recipe.adapter import SECTIONS
from rlpeft.recipe.options import of_section, option_tables
from rlpeft.recipe.run import Recipe, parse_recipe
from rlpeft.rollout.vllm.peft_config import choose_form, make_slice, read_config

TOY = {
    "__init__.py": """
from peft.utils import register_peft_method
from rlpeft.adapters.register import add_peft_type

add_peft_type("toy")

from toy_method.tuner import ToyConfig, ToyModel

register_peft_method(name="toy", config_cls=ToyConfig, model_cls=ToyModel)
""",
    "section.py": """
from typing import Literal

from rlpeft.recipe.adapter import ATTENTION_AND_MLP, AdapterSection


class ToyAdapter(AdapterSection):
    '''One number for each output.'''

    type: Literal["toy"]
    targets: tuple[str, ...] | str = ATTENTION_AND_MLP
    '''Where it acts.'''
    decay: float = 0.0
    '''Weight of its mean square in the loss.'''
""",
    "tuner.py": """
from dataclasses import dataclass

import torch
from peft import PeftConfig
from peft.tuners.tuners_utils import BaseTunerLayer
from peft.utils import PeftType
from torch import nn

from rlpeft.adapters.targets import DefaultTargets


@dataclass
class ToyConfig(PeftConfig):
    target_modules: set[str] | str | None = None
    layers_to_transform: list[int] | None = None
    exclude_modules: list[str] | None = None
    decay: float = 0.0

    def __post_init__(self):
        super().__post_init__()
        self.peft_type = PeftType.TOY


class ToyLinear(nn.Module, BaseTunerLayer):
    adapter_layer_names = ("toy_b",)

    def __init__(self, base_layer, adapter_name):
        super().__init__()
        self.base_layer, self._disable_adapters, self.merged_adapters = base_layer, False, []
        self._active_adapter = adapter_name
        self.toy_b = nn.ParameterDict()
        self.toy_b[adapter_name] = nn.Parameter(torch.zeros(base_layer.out_features))

    def forward(self, x):
        y = self.base_layer(x)
        return y if self.disable_adapters else y + self.toy_b[self.active_adapters[0]]


class ToyModel(DefaultTargets):
    prefix = "toy_"
    tuner_layer_cls = ToyLinear
    target_module_mapping = {}

    def _create_and_replace(self, config, adapter_name, target, target_name, parent, **_):
        self._replace_module(parent, target_name, ToyLinear(target, adapter_name), target)
""",
    "method.py": """
import torch

import toy_method
from rlpeft.adapter_state import by_module
from rlpeft.adapters.method import Auxiliary, Change, Method, Slice
from toy_method.tuner import ToyConfig


def squares(tuner, token_mask):
    found = [p.square().mean() for name, p in tuner.named_parameters() if ".toy_b." in name]
    return tuner.peft_config["default"].decay * torch.stack(found).mean()


METHOD = Method(
    name="toy",
    label="Toy",
    peft_type="TOY",
    is_ours=True,
    config=lambda adapter, base, where: ToyConfig(decay=adapter.decay, **where),
    change=Change(
        read=lambda state, base: by_module(state.tensors, "toy_b"), words="b", of="b"
    ),
    auxiliary=Auxiliary(
        loss=squares, metrics=lambda tuner: {"toy/seen": 1.0}, check=lambda tuner: None
    ),
    slice=Slice(make="toy_method.slice:ToySlice"),
)
""",
    "slice.py": """
import torch


class ToySlice:
    bends_input = False

    def __init__(self, config, name, weight_MN, *, pack, form, shard):
        self.tensors = {"toy_b": torch.zeros(len(weight_MN), device=weight_MN.device)}

    def refresh(self):
        pass

    def apply(self, x, base):
        return base(x) + self.tensors["toy_b"]

    def bias(self, bias_M):
        return bias_M
""",
}


@pytest.fixture(autouse=True)
def toy(tmp_path, monkeypatch):
    """The folder and both lines; PEFT keeps what was registered once, and the module with it."""
    if "toy_method" not in sys.modules:
        folder = tmp_path / "toy_method"
        folder.mkdir()
        for name, text in TOY.items():
            (folder / name).write_text(text)
        monkeypatch.syspath_prepend(tmp_path)
        import toy_method.method
        import toy_method.section
        import toy_method.slice  # noqa: F401  the folder is gone after the first test
    monkeypatch.setitem(METHODS, "toy", "toy_method.method:METHOD")
    monkeypatch.setitem(SECTIONS, "toy", "toy_method.section:ToyAdapter")


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    return tmp_path_factory.mktemp("runs")


@pytest.fixture
def trained(quick, runs):
    """A run of two steps in this process; a second call finds it done."""
    recipe = quick(adapter={"type": "toy", "decay": 0.5}, train={"steps": 2})
    run(recipe, runs / "one")
    return runs / "one"


def invoke(*arguments):
    return CliRunner().invoke(app, list(map(str, arguments)))


def test_it_learns_through_our_learner_on_the_hf_engine(trained):
    rows = [json.loads(line) for line in (trained / "metrics.jsonl").read_text().splitlines()]
    steps = [row for row in rows if "grad_norm" in row]
    assert len(steps) == 2
    assert all(row["toy/seen"] == 1.0 for row in steps)
    assert steps[0]["auxiliary_loss"] == 0 < steps[1]["auxiliary_loss"]
    moved = load_file(sorted(trained.glob("checkpoints/*/state.safetensors"))[-1])
    assert any(tensor.abs().max() > 0 for name, tensor in moved.items() if "toy_b" in name)


@pytest.mark.slow
def test_its_expert_is_listed_shown_and_compared(trained):
    listed = json.loads(invoke("experts", "list", trained, "--json").stdout)
    assert [row["method"] for row in listed] == ["toy"]
    shown = invoke("experts", "show", trained / "expert").stdout
    assert "b (Toy)" in shown
    assert "down_proj" in shown
    expert = load_expert(trained / "expert")
    assert set(difference(expert, expert).distances.values()) == {0.0}


@pytest.mark.slow
def test_its_expert_is_evaluated_as_in_its_run(trained, quick):
    found = evaluate_expert(trained / "expert", quick(), num=8)
    summary = json.loads((trained / "summary.json").read_text())
    assert found["accuracy"]["value"] == summary["test"]["value"]
    assert summary["export_format"] == "peft"


@pytest.mark.slow
def test_its_expert_is_exported_as_peft_loads_it(trained, tmp_path):
    done = invoke("export", trained / "expert", "--format", "peft", "--out", tmp_path / "out")
    assert done.exit_code == 0, done.output
    assert "(Toy)" in (tmp_path / "out" / "README.md").read_text()
    base = load_base_model(resolve_model("tiny"))
    again = PeftModel.from_pretrained(base, tmp_path / "out")
    held = adapter_state(again, 0).tensors
    for name, tensor in load_expert(trained / "expert").tensors.items():
        assert torch.equal(held[name], tensor)


def test_what_it_cannot_do_is_refused_in_one_line(trained, tmp_path):
    experts = f"experts=['{trained / 'expert'}']"
    done = invoke("adapt", "tiny-mix", "--set", experts, "--out", tmp_path / "mixed")
    assert done.exit_code == 1
    assert done.stderr.strip().endswith("only SVF experts can be mixed, 'quick' is TOY.")
    done = invoke("export", trained / "expert", "--format", "z", "--out", tmp_path / "out")
    assert "--format z needs an SVF expert, 'quick' is of 'toy'" in done.stderr


def test_it_runs_in_slices_of_vllm_in_the_form_that_it_has(quick):
    policy = attach_adapter(
        load_base_model(resolve_model("tiny")), quick(adapter={"type": "toy"}).adapter, seed=0
    )
    config = read_config(adapter_state(policy, 0).config)
    assert choose_form(config, "auto", "float32") == "factored"
    with pytest.raises(EngineError, match="form must be 'factored' for TOY"):
        choose_form(config, "dense", "float32")
    one = make_slice(config, "layers.0.mlp.up_proj", torch.zeros(6, 4))
    one.tensors["toy_b"].fill_(2.0)
    assert one.apply(torch.ones(1, 4), lambda x: x @ torch.zeros(4, 6)).tolist() == [[2.0] * 6]


def test_its_options_are_listed_and_its_mistakes_are_told(quick):
    tables = of_section(option_tables(Recipe), "adapter")
    [table] = [table for table in tables if table.given == 'type = "toy"']
    assert table.options[-1].doc == "Weight of its mean square in the loss."
    recipe = quick(adapter={"type": "toy", "decay": 2})
    assert parse_recipe(json.loads(recipe.model_dump_json()), source="a") == recipe
    with pytest.raises(ConfigError, match=r"'adapter\.dcay' of .*'toy'.*Did you mean 'decay'"):
        quick(adapter={"type": "toy", "dcay": 2})


def test_an_unknown_type_is_refused_with_those_there_are(quick):
    with pytest.raises(
        ConfigError, match=r"svf, lora, dora, ia3.*toy, got 'tow'.*Did you mean 'toy'"
    ):
        quick(adapter={"type": "tow"})
