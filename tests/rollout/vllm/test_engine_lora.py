"""PEFT's LoRA in real vLLM, in the form that builds matrices; and how a killed vLLM looks."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

pytest.importorskip("vllm")

from peft import PeftModel

from rlpeft.adapters.policy import adapter_state, attach_adapter, sequence_logprobs
from rlpeft.errors import EngineDiedError
from rlpeft.models.folder import resolve_model
from rlpeft.models.gap import largest_gap
from rlpeft.models.load import load_base_model
from rlpeft.recipe.run import LoraFamilyAdapter
from rlpeft.rollout.proof import Proof, Prover
from rlpeft.rollout.vllm.engine import VllmEngine
from rlpeft.types import Request, Sampling

pytestmark = [pytest.mark.vllm, pytest.mark.slow, pytest.mark.timeout(600)]

PROMPT = (1, 5, 9, 14, 7)
REQUEST = Request("r", PROMPT, (0,))


@pytest.fixture(scope="module")
def policy() -> PeftModel:
    adapter = LoraFamilyAdapter(type="lora", rank=4, targets=("q_proj", "v_proj", "down_proj"))
    policy = attach_adapter(load_base_model(resolve_model("tiny")), adapter, seed=0).eval()
    generator = torch.Generator().manual_seed(0)
    for parameter in policy.parameters():
        if parameter.requires_grad:
            parameter.data = 0.3 * torch.randn(parameter.shape, generator=generator)
    return policy


@pytest.fixture(scope="module")
def engine(policy: PeftModel) -> Iterator[VllmEngine]:
    config = adapter_state(policy, 0).config
    engine = VllmEngine(
        resolve_model("tiny"), config, max_model_len=96, form="dense", num_threads=1, batch_size=7
    )
    yield engine
    engine.close()


def test_lora_in_dense_form_is_pefts_lora(engine: VllmEngine, policy: PeftModel) -> None:
    state, expected = adapter_state(policy, 3), sequence_logprobs(policy, [PROMPT])
    Prover(engine).prove(Proof(state, [PROMPT], expected, bound=1e-4))
    with policy.disable_adapter():
        assert largest_gap(sequence_logprobs(policy, [PROMPT]), expected) > 0.1


def test_completions_of_lora_carry_pefts_log_probs(engine: VllmEngine, policy: PeftModel) -> None:
    engine.load_adapter(adapter_state(policy, 4))
    ((completion,),) = engine.rollout([REQUEST], Sampling(max_tokens=24))
    (scored,) = sequence_logprobs(policy, [(*PROMPT, *completion.token_ids)])
    assert largest_gap([completion.logprobs], [scored[len(PROMPT) - 1 :]]) <= 1e-4


def test_the_batch_size_is_vllms_own_limit(engine: VllmEngine) -> None:
    assert engine._core._llm.llm_engine.vllm_config.scheduler_config.max_num_seqs == 7


def test_a_killed_vllm_is_told_from_a_mistake(engine: VllmEngine) -> None:  # keep it last
    core, *_ = engine._core.processes
    core.kill()
    with pytest.raises(EngineDiedError, match=r"signal 9.*start another engine") as raised:
        engine.rollout([REQUEST], Sampling(max_tokens=24))
    engine.close()
    Path(str(raised.value).partition("Its log: ")[2].split()[0]).unlink()
    assert not any(process.is_running() for process in engine._core.processes)
