"""vLLM on a GPU, graphs on: what is sampled follows the adapter, as the trainer has it."""

import time
from contextlib import closing
from statistics import median

import pytest
import torch

pytest.importorskip("vllm")

from rlpeft.adapters.policy import adapter_state, attach_adapter, sequence_logprobs
from rlpeft.models.folder import resolve_model
from rlpeft.models.gap import mean_gap
from rlpeft.models.load import load_base_model
from rlpeft.recipe.run import HypLoraAdapter, LoraFamilyAdapter, MoSLoraAdapter, SvfAdapter
from rlpeft.rollout.proof import Proof, Prover
from rlpeft.rollout.vllm.engine import VllmEngine
from rlpeft.types import Request, Sampling

pytestmark = [pytest.mark.gpu, pytest.mark.vllm, pytest.mark.timeout(240)]

CANARY = [[1, *range(20, 50)], [1, 5, 9, 14, 7], [1, *range(60, 92)], [1, *range(30, 62)]]

CASES = {
    "tiny, SVF, float32, graphs": ("tiny", SvfAdapter(), "float32", False),
    "SmolLM2, SVF, bfloat16, graphs": ("smollm2-135m", SvfAdapter(), "bfloat16", False),
    "tiny, LoRA, bfloat16": ("tiny", LoraFamilyAdapter(type="lora", rank=8), "bfloat16", True),
    "tiny, HypLoRA, bfloat16": ("tiny", HypLoraAdapter(type="hyplora", rank=8), "bfloat16", True),
}


SHARED = {
    "SVF": SvfAdapter(),
    "LoRA": LoraFamilyAdapter(type="lora", rank=8),
    "HypLoRA": HypLoraAdapter(type="hyplora", rank=8),
    "MoSLoRA": MoSLoraAdapter(type="moslora", rank=8),
}


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two GPUs")
@pytest.mark.parametrize("name", SHARED)
def test_two_gpus_that_share_an_engine_sample_as_the_trainer_scores(name):
    path = resolve_model("tiny")
    policy = attach_adapter(load_base_model(path), SHARED[name], seed=0).eval().to("cuda")
    generator = torch.Generator().manual_seed(0)
    for parameter in policy.parameters():
        if parameter.requires_grad:
            noise = torch.randn(parameter.shape, generator=generator).to(parameter)
            parameter.data += 0.05 * noise
    state, expected = adapter_state(policy, 1), sequence_logprobs(policy, CANARY)
    options = {"gpu_memory_utilization": 0.3, "tensor_parallel": 2}
    with closing(VllmEngine(path, state.config, max_model_len=256, **options)) as engine:
        Prover(engine).prove(Proof(state, CANARY, expected, bound=1e-2))
        requests = [Request(f"{at}", tuple(ids), (0, 1)) for at, ids in enumerate(CANARY)]
        for request, group in zip(requests, engine.rollout(requests, Sampling(32)), strict=True):
            for completion in group:
                row = [*request.prompt_ids, *completion.token_ids]
                scored = sequence_logprobs(policy, [row])[0][len(request.prompt_ids) - 1 :]
                assert mean_gap([completion.logprobs], [scored]) < 1e-3


def test_an_engine_that_may_sleep_gives_its_cache_back_and_samples_as_before():
    path = resolve_model("tiny")
    policy = attach_adapter(load_base_model(path), SvfAdapter(), seed=0).eval().to("cuda")
    with torch.no_grad():
        for parameter in policy.parameters():
            if parameter.requires_grad:
                parameter.mul_(torch.linspace(0.9, 1.1, len(parameter), device="cuda"))
    state, expected = adapter_state(policy, 1), sequence_logprobs(policy, CANARY)
    options = {"enable_sleep_mode": True, "gpu_memory_utilization": 0.3}
    requests = [Request(f"{at}", tuple(ids), (0, 1)) for at, ids in enumerate(CANARY)]
    with closing(VllmEngine(path, state.config, max_model_len=256, **options)) as engine:
        Prover(engine).prove(Proof(state, CANARY, expected, bound=1e-2))
        digest = engine.base_digest()
        engine.rollout(requests, Sampling(32))
        awake, total = torch.cuda.mem_get_info()
        engine.rest()
        engine.rest()
        asleep, _ = torch.cuda.mem_get_info()
        print(f"\na rest gives {(asleep - awake) / 2**30:.1f} GiB back")
        assert asleep - awake > 0.2 * total
        for request, group in zip(requests, engine.rollout(requests, Sampling(32)), strict=True):
            for completion in group:
                row = [*request.prompt_ids, *completion.token_ids]
                scored = sequence_logprobs(policy, [row])[0][len(request.prompt_ids) - 1 :]
                assert mean_gap([completion.logprobs], [scored]) < 1e-3
        assert engine.base_digest() == digest


@pytest.mark.parametrize("case", CASES)
def test_an_engine_is_proven_at_its_start_and_samples_as_the_trainer_scores(case, record_property):
    model, adapter, dtype, is_eager = CASES[case]
    path, generator = resolve_model(model), torch.Generator().manual_seed(0)
    policy = attach_adapter(load_base_model(path, dtype), adapter, seed=0).eval().to("cuda")
    options = {"enforce_eager": is_eager, "gpu_memory_utilization": 0.3}
    config, syncs = adapter_state(policy, 0).config, []
    with closing(VllmEngine(path, config, max_model_len=256, dtype=dtype, **options)) as engine:
        prover = Prover(engine)
        for version in range(4):
            state = adapter_state(policy, version)
            expected = sequence_logprobs(policy, CANARY)
            proof = Proof(state, CANARY, expected, bound=1e-2 if dtype == "float32" else 1.0)
            syncs.append(prover.prove(proof).load_s)
            before = engine.logprobs(CANARY)
            requests = [Request(f"{at}", tuple(ids), (0, 1)) for at, ids in enumerate(CANARY)]
            for request, group in zip(
                requests, engine.rollout(requests, Sampling(32)), strict=True
            ):
                for completion in group:
                    assert completion.digest == state.digest
                    row = [*request.prompt_ids, *completion.token_ids]
                    scored = sequence_logprobs(policy, [row])[0][len(request.prompt_ids) - 1 :]
                    gap = mean_gap([completion.logprobs], [scored])
                    assert gap < (1e-3 if dtype == "float32" else 0.1)
            for parameter in policy.parameters():
                if parameter.requires_grad:
                    noise = torch.randn(parameter.shape, generator=generator).to(parameter)
                    parameter.data += 0.05 * noise
            assert version == 0 or mean_gap(before, sequence_logprobs(policy, CANARY)) > 1e-3
        started = time.perf_counter()
        engine.load_adapter(adapter_state(policy, 9))
        took = time.perf_counter() - started
    print(f"\n{case}: sync {1e3 * median(syncs):.1f} ms, in all {1e3 * took:.1f} ms")
    record_property("sync_ms", 1e3 * median(syncs))
