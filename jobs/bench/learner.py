"""The learner step: against PEFT LoRA through the same learner, and against the reference.

The workload is what RL makes: groups of 8 completions of one prompt. The reference's algorithm
(Transformer², public code) is re-implemented from its description: one sequence at a time, logits
for every position, dense gradients of every weight, W' = U diag(s z) Vᵀ built by autograd from
the factors each step.
"""

from __future__ import annotations

import resource
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import torch

from jobs.bench.rows import BenchRow, interleave, medians
from rlpeft.config import LearnerConfig, LoraFamilyAdapter, LossConfig, SvfAdapter
from rlpeft.packing import Sample

GROUPS, GROUP_SIZE, PROMPT_TOKENS, COMPLETION_TOKENS = 8, 8, 64, 64
"""8 x (64 + 8 x 64) = 4608 tokens once prompts are shared, 8192 if they are repeated."""


def rows(*, model: str = "smollm2-135m", repeats: int = 3) -> list[BenchRow]:
    """Time the step of SVF, LoRA r16 and the reference; compare their peak memory."""
    steps = {name: make(name, model) for name in ("svf", "lora", "reference")}
    found = medians(interleave(steps, repeats=repeats))
    memory = {name: peak_memory(name, model) for name in ("svf", "lora")}
    where = f"{model}, {GROUPS} groups of {GROUP_SIZE} x ({PROMPT_TOKENS}+{COMPLETION_TOKENS})"
    ratio, speedup = found["svf"] / found["lora"], found["reference"] / found["svf"]
    memory_ratio = memory["svf"] / memory["lora"]
    return [
        BenchRow(
            f"learner step, SVF against PEFT LoRA r16 ({where})",
            found["svf"],
            found["lora"],
            ratio,
            "s",
            f"{flop_floor():.2f} x by FLOPs",
            "<= 1.5 x",
            ratio <= 1.5,
        ),
        BenchRow(
            f"learner step against the reference's algorithm ({where})",
            found["svf"],
            found["reference"],
            speedup,
            "s",
            "-",
            ">= 3 x faster",
            speedup >= 3,
        ),
        BenchRow(
            "peak memory of the learner, SVF against PEFT LoRA r16",
            memory["svf"],
            memory["lora"],
            memory_ratio,
            "MB",
            "1 x + W' (fp32, adapted weights)",
            "<= 1.5 x",
            memory_ratio <= 1.5,
        ),
    ]


def flop_floor(hidden: int = 576, mlp: int = 1536, kv: int = 192, vocab: int = 49152) -> float:
    """FLOPs of an SVF step over those of a LoRA step for SmolLM2-135M (30 layers, this workload).

    Per token, multiply-adds: weights once forward and once backward (dx); SVF adds R² for each
    matrix (the R x R product that dz needs), and per step 3 R² max(M, N) for W' and dz.
    """
    matrices = [(hidden, hidden)] * 2 + [(kv, hidden)] * 2 + [(mlp, hidden)] * 3
    weights = 30 * sum(m * n for m, n in matrices)
    tokens = GROUPS * (PROMPT_TOKENS + GROUP_SIZE * COMPLETION_TOKENS)
    completion_tokens = GROUPS * GROUP_SIZE * COMPLETION_TOKENS
    head = 3 * hidden * vocab * completion_tokens  # logits, once again in backward, and dx
    lora = 2 * weights * tokens + head + 30 * sum(3 * 16 * (m + n) for m, n in matrices) * tokens
    ranks = [(min(m, n), max(m, n)) for m, n in matrices]
    svf = 2 * weights * tokens + head + 30 * sum(r * r for r, _ in ranks) * tokens
    return (svf + 30 * sum(2 * r * r * big + r**3 for r, big in ranks)) / lora


def samples(vocab: int) -> list[Sample]:
    """Random groups, the same for every side."""
    generator = torch.Generator().manual_seed(0)

    def draw(count: int) -> tuple[int, ...]:
        return tuple(torch.randint(5, vocab, (count,), generator=generator).tolist())

    prompts = [draw(PROMPT_TOKENS) for _ in range(GROUPS)]
    return [
        Sample(prompt, draw(COMPLETION_TOKENS), (-8.0,) * COMPLETION_TOKENS, (-1.0) ** member)
        for prompt in prompts
        for member in range(GROUP_SIZE)
    ]


def make(side: str, model: str) -> Callable[[], Any]:
    """One step of one side, as a function without arguments."""
    from rlpeft.learner import Learner
    from rlpeft.models import load_base_model, resolve_model
    from rlpeft.policy import attach_adapter

    base = load_base_model(resolve_model(model), "float32")
    batch = samples(base.config.vocab_size)
    if side == "reference":
        return Reference(base, batch).step
    adapter = SvfAdapter() if side == "svf" else LoraFamilyAdapter(type="lora", rank=16)
    learner = Learner(
        attach_adapter(base, adapter, seed=0),
        LearnerConfig(lr=1e-4),
        LossConfig(ratio_cap=0),
        total_steps=1000,
        temperature=1.0,
    )
    return lambda: learner.step(batch)


class Reference:
    """The public code's step, as its algorithm is described (Transformer², reference, §1-2)."""

    def __init__(self, base: Any, batch: list[Sample]) -> None:
        self.base, self.batch = base.requires_grad_(True), batch
        self.weights = {
            name: weight for name, weight in base.named_parameters() if name.endswith("proj.weight")
        }
        self.factors = {n: torch.linalg.svd(w.detach(), False) for n, w in self.weights.items()}
        self.z = {
            n: torch.ones(len(s), requires_grad=True) for n, (_, s, _) in self.factors.items()
        }
        self.optimizer = torch.optim.Adam(self.z.values(), lr=1e-4)

    def step(self) -> None:
        """Build W', accumulate dense gradients one sequence at a time, chain them to z."""
        bent = {n: u @ torch.diag(s * self.z[n]) @ vt for n, (u, s, vt) in self.factors.items()}
        with torch.no_grad():
            for name, weight in self.weights.items():
                weight.copy_(bent[name])
        for sample in self.batch:
            ids = torch.tensor([sample.prompt_ids + sample.completion_ids])
            log_pi = torch.log_softmax(self.base(ids).logits[0, :-1], -1)
            chosen = log_pi.gather(1, ids[0, 1:, None])[-len(sample.completion_ids) :]
            (-sample.advantage * chosen.sum() / len(self.batch)).backward()
        for name, weight in self.weights.items():
            bent[name].backward(gradient=weight.grad)
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.base.zero_grad()


def peak_memory(side: str, model: str) -> float:
    """Peak resident megabytes of one step in a process of its own."""
    code = f"from jobs.bench.learner import measure; measure({side!r}, {model!r})"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    return float(done.stdout.split()[-1])


def measure(side: str, model: str) -> None:
    """Take one step and print this process's peak resident megabytes."""
    make(side, model)()
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
