"""Which experts go together in one server, and what the others are told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

pytest.importorskip("vllm")

from jobs.intake import Intake
from jobs.library import find_shelf
from rlpeft.errors import ExpertError
from rlpeft.experts.files import load_expert
from rlpeft.models.digest import model_digest
from rlpeft.models.folder import resolve_model
from rlpeft.recipe.run import RolloutConfig

pytestmark = pytest.mark.vllm

LORA = {"peft_type": "LORA", "r": 1, "lora_alpha": 1, "target_modules": ["q_proj"]}
IA3 = {"peft_type": "IA3", "target_modules": ["q_proj"], "feedforward_modules": []}
MODULE = "base_model.model.model.layers.0.self_attn.q_proj"


@pytest.fixture
def add(tmp_path: Path, make_expert: Any) -> Any:
    """A maker of experts in one folder: SVF's of the tiny base from its start, or of another."""
    digest = model_digest(resolve_model("tiny"))

    def add(name: str, tensors: Any, config: Any, **card: Any) -> Path:
        known = {"base_digest": digest, "config": config, "folder": tmp_path / "all" / name}
        folder: Path = make_expert(name, tensors, **known | card)
        return folder

    return add


@pytest.fixture
def svf(add: Any, tiny_start: Any) -> Any:
    def make(name: str, share: float = 1.1, **card: Any) -> Path:
        tensors = {key: z * share for key, z in tiny_start.tensors.items()}
        adapter = {"type": "svf", "parametrisation": "direct"}
        found: Path = add(name, tensors, dict(tiny_start.config), **{"adapter": adapter} | card)
        return found

    return make


@pytest.fixture
def lora(add: Any) -> Any:
    def make(name: str, **card: Any) -> Path:
        tensors = {f"{MODULE}.lora_{s}.weight": torch.ones(1, 1) for s in "AB"}
        found: Path = add(name, tensors, LORA, **{"adapter": {"type": "lora"}} | card)
        return found

    return make


def begin(root: Path, engine: str = "vllm", stop: Any = None) -> Any:
    return Intake.begin(find_shelf(root, model=None, rollout=RolloutConfig(engine=engine)), stop)


def test_experts_of_several_methods_go_together(svf: Any, lora: Any, tiny_start: Any) -> None:
    root = svf("swap", stop=["\n"]).parent
    lora("poet")
    intake, experts = begin(root)
    assert list(experts) == ["poet", "swap"]
    assert experts["swap"].state.factors == tiny_start.factors
    assert experts["swap"].stop == ("\n",)
    assert experts["poet"].state.tensors.keys() == {f"{MODULE}.lora_{s}.weight" for s in "AB"}
    assert intake.start.digest == tiny_start.digest
    assert begin(root, stop=["x", ""])[1]["swap"].stop == ("x",)


def test_experts_of_one_method_need_no_other(lora: Any) -> None:
    intake, experts = begin(lora("poet").parent)
    assert (list(experts), intake.start) == (["poet"], None)


def test_what_cannot_share_a_batch_is_told_so_and_what_to_do(add: Any, svf: Any, lora: Any) -> None:
    root = svf("swap").parent
    lora("poet")
    with pytest.raises(ExpertError, match="hf serves SVF experts alone, 'poet' is LoRA"):
        begin(root, engine="hf")
    tensors = {f"{MODULE}.ia3_l": torch.ones(1, 1)}
    add("scale", tensors, IA3, adapter={"type": "ia3"})
    with pytest.raises(ExpertError, match=r"'scale' is IA3.* export --format merged"):
        begin(root)


def test_an_expert_that_comes_later_must_go_with_the_others(svf: Any, lora: Any) -> None:
    root = lora("poet").parent
    later = load_expert(svf("swap"))
    alone, _ = begin(root / "poet")
    with pytest.raises(ExpertError, match="began with none and has no factors"):
        alone.take("swap", later, "here")
    intake, _ = begin(root)
    assert intake.take("swap", later, "here").origin == "here"
    with pytest.raises(ExpertError, match="every server has"):
        intake.take("auto", later, "here")
    with pytest.raises(ExpertError, match=r"must have one \[chat\] section, that of 'turns'"):
        intake.take("turns", load_expert(lora("turns", chat={"system": "fold"})), "here")
    fewer = dict(list(later.tensors.items())[:3])
    other = load_expert(svf("fewer")).__class__(later.card, later.config, fewer)
    with pytest.raises(ExpertError, match="must have the same modules"):
        intake.take("fewer", other, "here")


def test_an_expert_is_fetched_from_below_a_root_and_no_copy_is_named(
    svf: Any, lora: Any, tmp_path: Path
) -> None:
    root = svf("swap").parent
    intake, _ = begin(root)
    found = intake.fetch("new", "all/swap", [tmp_path], from_hub=False)
    assert found.origin == "all/swap"
    (root / "swap" / "adapter_model.safetensors").write_bytes(b"\x80\x04 no tensors")
    with pytest.raises(ExpertError, match=r"^expert 'all/swap' must be readable") as error:
        intake.fetch("new", "all/swap", [tmp_path], from_hub=False)
    assert "rlpeft-load-" not in str(error.value)
    lora("other", base_digest="c" * 64)
    with pytest.raises(ExpertError, match="'all/other' was trained on base model"):
        intake.fetch("new", "all/other", [tmp_path], from_hub=False)


def test_an_expert_of_the_hub_is_asked_for_where_that_is_allowed(svf: Any, tmp_path: Path) -> None:
    intake, _ = begin(svf("swap").parent)
    with pytest.raises(ExpertError, match="below a folder that --load-from names"):
        intake.fetch("new", "org/name", [tmp_path], from_hub=False)
