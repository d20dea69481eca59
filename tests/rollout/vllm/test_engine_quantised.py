"""vLLM on quantised bases: it holds the learner's weights, and what it samples follows the adapter.

A checkpoint of 4-bit integers is read by vLLM's own method; int8 is made as the base is loaded.
"""

from __future__ import annotations

import shutil
from contextlib import closing
from pathlib import Path

import pytest
import torch

pytest.importorskip("vllm")

from vllm.platforms import current_platform

from rlpeft.adapters.policy import adapter_state, attach_adapter, sequence_logprobs
from rlpeft.build import build_learner
from rlpeft.errors import ModelError
from rlpeft.models.base import BaseModel
from rlpeft.models.gap import largest_gap
from rlpeft.recipe.run import LoraFamilyAdapter, Recipe, SvfAdapter
from rlpeft.rollout.proof import Proof, Prover
from rlpeft.rollout.vllm.engine import VllmEngine
from rlpeft.types import Request, Sampling

pytestmark = [
    pytest.mark.vllm,
    pytest.mark.slow,
    pytest.mark.timeout(600),
    pytest.mark.skipif(not current_platform.is_cpu(), reason="tests/gpu has those of GPUs"),
]

CANARY = [[1, *range(20, 50)], [1, 5, 9, 14, 7], [1, *range(60, 92)]]
ADAPTERS = {"SVF": SvfAdapter(), "LoRA": LoraFamilyAdapter(type="lora", rank=4)}


@pytest.fixture(scope="module")
def integers(tmp_path_factory: pytest.TempPathFactory) -> BaseModel:
    """The tiny base in 4 bits, groups of 128 with one scale each, as compressed-tensors writes."""
    return compressed("W4A16", tmp_path_factory.mktemp("base"))


def compressed(scheme: str, folder: Path) -> BaseModel:
    from compressed_tensors.compressors.model_compressors.model_compressor import ModelCompressor
    from compressed_tensors.quantization import (
        QuantizationConfig,
        apply_quantization_config,
        preset_name_to_scheme,
    )

    base = BaseModel.open("tiny")
    model, groups = base.model(), {"group_0": preset_name_to_scheme(scheme, ["Linear"])}
    config = QuantizationConfig(config_groups=groups, ignore=["lm_head"])
    apply_quantization_config(model, config)
    for module in model.modules():
        if getattr(module, "quantization_scheme", None) is not None:
            most = 2 ** (module.quantization_scheme.weights.num_bits - 1) - 0.5
            grouped = module.weight.data.view(*module.weight_scale.shape, -1)
            module.weight_scale.data.copy_(grouped.abs().amax(-1) / most)
    compressor = ModelCompressor.from_pretrained_model(model)
    compressor.compress_model(model)
    model.save_pretrained(folder)
    compressor.update_config(folder)
    for file in base.path.iterdir():
        if file.is_file() and file.suffix != ".safetensors" and file.name != "config.json":
            shutil.copy(file, folder)
    return BaseModel.open(str(folder))


def moved(base: BaseModel, adapter: SvfAdapter | LoraFamilyAdapter, dtype: str = "float32"):
    policy = attach_adapter(base.model(dtype), adapter, seed=0).eval()
    generator = torch.Generator().manual_seed(0)
    for parameter in policy.parameters():
        if parameter.requires_grad:
            parameter.data += 0.05 * torch.randn(parameter.shape, generator=generator)
    return policy


def prove(base: BaseModel, name: str, *, dtype: str = "float32") -> None:
    """By kick, digest and canary, as near to the trainer as three times what the dtype's rounding
    moves transformers; and what is sampled is scored alike."""
    policy = moved(base, ADAPTERS[name])
    state, expected = adapter_state(policy, 1), sequence_logprobs(policy, CANARY)
    rounded = sequence_logprobs(moved(base, ADAPTERS[name], dtype), CANARY)
    bound = 1e-3 + 3 * largest_gap(rounded, expected)
    requests = [Request(f"{at}", tuple(ids), (0, 1)) for at, ids in enumerate(CANARY)]
    with closing(
        VllmEngine(
            base.path,
            state.config,
            dtype=dtype,
            max_model_len=96,
            num_threads=1,
            quantisation=base.quantisation,
        )
    ) as engine:
        before = engine.base_digest()
        Prover(engine).prove(Proof(state, CANARY, expected, bound=bound))
        for request, group in zip(requests, engine.rollout(requests, Sampling(16)), strict=True):
            for completion in group:
                row = [*request.prompt_ids, *completion.token_ids]
                scored = sequence_logprobs(policy, [row])[0][len(request.prompt_ids) - 1 :]
                assert largest_gap([completion.logprobs], [scored]) < bound
        assert engine.base_digest() == before


@pytest.mark.parametrize("name", ADAPTERS)
def test_int8_is_the_learners_own_and_follows_the_adapter(name):
    pytest.importorskip("torchao")
    base = BaseModel.open("tiny").quantised("int8")
    prove(base, name)


@pytest.mark.skipif(
    "AVX512" not in torch.backends.cpu.get_cpu_capability(),
    reason="vLLM multiplies with 4-bit integers on AVX-512 alone",
)
@pytest.mark.parametrize("name", ADAPTERS)
def test_a_checkpoint_of_integers_is_read_by_vllms_own_method_and_follows_the_adapter(
    integers, name
):
    prove(integers, name, dtype="bfloat16")


def test_the_learner_reads_the_integers_as_vllm_does(integers):
    """Against the stored integers and scales, multiplied out by hand."""
    from safetensors.torch import load_file

    name = "model.layers.1.self_attn.q_proj"
    files = load_file(integers.path / "model.safetensors")
    packed, scale = files[f"{name}.weight_packed"], files[f"{name}.weight_scale"]
    nibbles = torch.stack([(packed >> (4 * place)) & 15 for place in range(8)], -1)
    expected = (nibbles.flatten(1) - 8).float() * scale.repeat_interleave(128, 1)
    found = integers.model().get_submodule(name).weight
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


def test_a_base_that_quantises_what_it_reads_too_cannot_be_trained_and_says_so(tmp_path):
    """W8A8: no gradient passes the rounding of activations."""
    base = compressed("W8A8", tmp_path)
    tree = {"name": "x", "model": {"name": base.name}, "task": {"name": "tiny/swap"}}
    with pytest.raises(ModelError, match="must pass gradients on"):
        build_learner(Recipe.model_validate(tree), base)
