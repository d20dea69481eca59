"""The learner on a GPU: FlexAttention's backward, and what leaves it."""

import pytest
import torch
from torch.testing import assert_close

from rlpeft.adapters.policy import attach_adapter
from rlpeft.recipe.run import (
    HypLoraAdapter,
    LearnerConfig,
    LoraFamilyAdapter,
    LossConfig,
    SvfAdapter,
)
from rlpeft.training.learner import LocalLearner
from rlpeft.training.packing import Sample

pytestmark = pytest.mark.gpu

ADAPTERS = {
    "svf": SvfAdapter(),
    "lora": LoraFamilyAdapter(type="lora", rank=4),
    "hyplora": HypLoraAdapter(type="hyplora", rank=4),
}


def answers(*lengths, prompt=40):
    """Answers of these lengths, three to a prompt, over the edges of blocks."""
    return [
        Sample(
            tuple(3 + (at // 3 + token) % 50 for token in range(prompt)),
            tuple(4 + (7 * token + at) % 50 for token in range(length)),
            (-4.0,) * length,
            (-1.0) ** at,
        )
        for at, length in enumerate(lengths)
    ]


def learner(base, adapter, device, *, checkpointing=False):
    return LocalLearner(
        attach_adapter(base, adapter, seed=0).to(device),
        LearnerConfig(gradient_checkpointing=checkpointing),
        LossConfig(kl_coef=0.1, kl="full"),
        total_steps=10,
        temperature=1.0,
    )


def gradients(of, samples):
    """All gradients in a row; B of a LoRA starts as zero, so they are those of a second step."""
    of.step(samples)
    of.forward_backward(samples)
    return torch.cat([p.grad.flatten().cpu() for p in of.parameters.values()])


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("adapter", ADAPTERS)
def test_gradients_on_a_gpu_are_those_of_the_cpu(llama, adapter, checkpointing):
    samples = answers(70, 3, 41, 50, 60, 1)
    base = {"max_position_embeddings": 512, "head_dim": 32}
    here = gradients(learner(llama(**base), ADAPTERS[adapter], "cpu"), samples)
    there = learner(llama(**base), ADAPTERS[adapter], "cuda", checkpointing=checkpointing)
    found = gradients(there, samples)
    assert float((found - here).norm() / here.norm()) < 1e-3


def test_a_window_is_kept_on_a_gpu(tiny_model):
    samples = answers(9, 3, 12, prompt=20)
    window = {"sliding_window": 8, "hidden_size": 64, "head_dim": 16}
    sides = [
        gradients(learner(tiny_model("mistral", **window), SvfAdapter(), device), samples)
        for device in ("cpu", "cuda")
    ]
    assert float((sides[1] - sides[0]).norm() / sides[0].norm()) < 1e-3


def test_one_long_answer_among_short_ones_pads_nothing(llama):
    of = learner(
        llama(max_position_embeddings=16384, head_dim=32), SvfAdapter(), "cuda", checkpointing=True
    )
    torch.cuda.reset_peak_memory_stats()
    of.step([Sample(s.prompt_ids, s.completion_ids, s.logprobs, 1.0) for s in answers(8000)])
    alone = torch.cuda.max_memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    of.step(answers(*[7000 // 100] * 90, 7000))
    assert torch.cuda.max_memory_allocated() < 2 * alone


def test_a_state_leaves_the_gpu_and_continues_on_it_or_elsewhere(llama):
    samples = answers(20, 5, 9)
    of = learner(llama(max_position_embeddings=512, head_dim=32), SvfAdapter(), "cuda")
    of.step(samples)
    state = of.state_dict()
    tensors = [
        state["parameters"].values(),
        *(s.values() for s in state["optimizer"]["state"].values()),
    ]
    assert {t.device.type for held in tensors for t in held} == {"cpu"}
    again = learner(llama(max_position_embeddings=512, head_dim=32), SvfAdapter(), "cuda")
    again.load_state_dict(state)
    for each in (of, again):
        each.step(samples)
    for name, tensor in of.adapter_state().tensors.items():
        assert_close(again.adapter_state().tensors[name], tensor, rtol=1e-5, atol=1e-6)
