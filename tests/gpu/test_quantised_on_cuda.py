"""Quantised bases on a GPU: vLLM's kernels, the learner's weights, and what is sampled.

int8 is made here. Files in AWQ, GPTQ, fp8 or compressed-tensors are users' own: name their folders,
divided by colons, in RLPEFT_QUANTISED. What nothing here can read says so.
"""

import os
from contextlib import closing
from pathlib import Path

import pytest
import torch

pytest.importorskip("vllm")

from rlpeft.adapters.policy import adapter_state, attach_adapter, sequence_logprobs
from rlpeft.models.base import BaseModel
from rlpeft.models.gap import largest_gap
from rlpeft.recipe.run import LoraFamilyAdapter, SvfAdapter
from rlpeft.rollout.proof import Proof, Prover
from rlpeft.rollout.vllm.engine import VllmEngine
from rlpeft.types import Request, Sampling

pytestmark = [pytest.mark.gpu, pytest.mark.vllm, pytest.mark.timeout(400)]

CANARY = [[1, *range(20, 50)], [1, 5, 9, 14, 7], [1, *range(30, 62)]]
ADAPTERS = {"SVF": SvfAdapter(), "LoRA": LoraFamilyAdapter(type="lora", rank=8)}
FOLDERS = [name for name in os.environ.get("RLPEFT_QUANTISED", "").split(":") if name]


def prove(base: BaseModel, name: str) -> None:
    """By kick, digest and canary, in bfloat16; what is sampled is scored alike by the trainer."""
    policy = attach_adapter(base.model("bfloat16").to("cuda"), ADAPTERS[name], seed=0)
    policy = policy.eval().to("cuda")
    generator = torch.Generator().manual_seed(0)
    for parameter in policy.parameters():
        if parameter.requires_grad:
            noise = torch.randn(parameter.shape, generator=generator).to(parameter)
            parameter.data += 0.05 * noise
    state, expected = adapter_state(policy, 1), sequence_logprobs(policy, CANARY)
    requests = [Request(f"{at}", tuple(ids), (0, 1)) for at, ids in enumerate(CANARY)]
    options = {"gpu_memory_utilization": 0.4, "quantisation": base.quantisation}
    with closing(
        VllmEngine(base.path, state.config, dtype="bfloat16", max_model_len=256, **options)
    ) as engine:
        before = engine.base_digest()
        report = Prover(engine).prove(Proof(state, CANARY, expected, bound=1.0))
        for request, group in zip(requests, engine.rollout(requests, Sampling(32)), strict=True):
            for completion in group:
                row = [*request.prompt_ids, *completion.token_ids]
                scored = sequence_logprobs(policy, [row])[0][len(request.prompt_ids) - 1 :]
                assert largest_gap([completion.logprobs], [scored]) < 1.0
        assert engine.base_digest() == before
    print(f"\n{base.name}, {base.quantisation or 'as its files'}, {name}: gap {report.gap:.3g}")


@pytest.mark.parametrize("name", ADAPTERS)
@pytest.mark.parametrize("model", ["tiny", "smollm2-135m"])
def test_int8_is_the_learners_own_and_follows_the_adapter(model, name):
    pytest.importorskip("torchao")
    prove(BaseModel.open(model).quantised("int8"), name)


@pytest.mark.skipif(not FOLDERS, reason="RLPEFT_QUANTISED names no folder of quantised weights")
@pytest.mark.parametrize("name", ADAPTERS)
@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: Path(folder).name)
def test_files_that_are_quantised_are_read_alike_and_follow_the_adapter(folder, name):
    prove(BaseModel.open(folder), name)
