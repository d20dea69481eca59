"""The learner step: against PEFT LoRA through the same learner, and against the reference.

The workloads are what RL makes: groups of 8 completions of one prompt. The reference's algorithm
(Transformer², public code) is re-implemented from its description: one sequence at a time, logits
for every position, dense gradients of every weight, W' = U diag(s z) Vᵀ built by autograd from
the factors each step. How much faster a step can be depends on what a group shares: by FLOPs
alone 5.3 x where prompts are long and answers short, 2.3 x where both are equally long.
"""

from __future__ import annotations

import resource
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch

from jobs.bench.rows import BenchRow, interleave, medians
from rlpeft.recipe.run import LearnerConfig, LoraFamilyAdapter, LossConfig, SvfAdapter
from rlpeft.training.packing import Sample


@dataclass(frozen=True, slots=True)
class Workload:
    """Groups of completions of one prompt, in tokens."""

    groups: int
    prompt: int
    completion: int
    group_size: int = 8

    @property
    def num_sequences(self) -> int:
        """Completions of a step."""
        return self.groups * self.group_size

    @property
    def num_tokens(self) -> int:
        """Tokens of a step once prompts are shared."""
        return self.groups * (self.prompt + self.group_size * self.completion)

    def __str__(self) -> str:
        shape = f"{self.groups} groups of {self.group_size} x ({self.prompt}+{self.completion})"
        return f"{shape}, {self.num_tokens} tokens"


EVEN = Workload(groups=8, prompt=64, completion=64)
FEW_SHOT = Workload(groups=16, prompt=40, completion=5)
"""One step of the recipe `smollm2-arithmetic`: three solved examples before each question."""


def rows(*, model: str = "smollm2-135m", repeats: int = 3) -> Iterator[BenchRow]:
    """Time the step of SVF, LoRA r16 and the reference; compare their peak memory."""
    yield _memory_row(model)
    yield _lora_row(model, repeats)
    yield _reference_row(model, FEW_SHOT, "one step of smollm2-arithmetic", repeats)
    yield _reference_row(model, EVEN, "answers as long as prompts", repeats)


def _lora_row(model: str, repeats: int) -> BenchRow:
    steps = {name: make(name, model, EVEN) for name in ("svf", "lora")}
    found = medians(interleave(steps, repeats=repeats))
    ratio = found["svf"] / found["lora"]
    return BenchRow(
        f"learner step, SVF against PEFT LoRA r16 ({model}, {EVEN})",
        found["svf"],
        found["lora"],
        ratio,
        "s",
        f"{multiply_adds('svf', EVEN) / multiply_adds('lora', EVEN):.2f} x by FLOPs",
        "<= 1.5 x",
        ratio <= 1.5,
    )


def _reference_row(model: str, workload: Workload, what: str, repeats: int) -> BenchRow:
    budget = workload.num_tokens
    steps = {n: make(n, model, workload, token_budget=budget) for n in ("svf", "reference")}
    found = medians(interleave(steps, repeats=repeats))
    speedup = found["reference"] / found["svf"]
    return BenchRow(
        f"learner step, SVF against the reference's algorithm ({model}, {what}: {workload})",
        found["svf"],
        found["reference"],
        speedup,
        "s",
        f"{multiply_adds('reference', workload) / multiply_adds('svf', workload):.2f} x by FLOPs",
        ">= 3 x faster",
        speedup >= 3,
    )


def _memory_row(model: str) -> BenchRow:
    memory = {name: peak_memory(name, model) for name in ("svf", "lora")}
    ratio = memory["svf"] / memory["lora"]
    return BenchRow(
        f"peak memory of the learner, SVF against PEFT LoRA r16 ({model}, {EVEN})",
        memory["svf"],
        memory["lora"],
        ratio,
        "MB",
        "1 x + W' (fp32, adapted weights)",
        "<= 1.5 x",
        ratio <= 1.5,
    )


HIDDEN, MLP, KV, VOCABULARY, LAYERS = 576, 1536, 192, 49152, 30
"""SmolLM2-135M."""


def multiply_adds(side: str, workload: Workload) -> float:
    """Of a step of `svf`, `lora` or `reference` on SmolLM2-135M, attention left out.

    Per token, each weight once forward and once backward (dx), and once more in the reference
    (dW); LoRA adds three products of rank 16, SVF R² a matrix (the R x R product that dz needs).
    Per step, SVF adds R² max(M, N) + R³ for W' and R³ for dz, the reference three times what
    U diag(s z) Vᵀ costs. Ours shares prompts and has logits of completions only.
    """
    shapes = [(HIDDEN, HIDDEN)] * 2 + [(KV, HIDDEN)] * 2 + [(MLP, HIDDEN)] * 3
    ranks = [(min(shape), max(shape)) for shape in shapes]
    weights, head = sum(m * n for m, n in shapes), HIDDEN * VOCABULARY
    if side == "reference":
        tokens = workload.num_sequences * (workload.prompt + workload.completion)
        built = 3 * sum(r * r * (big + r) for r, big in ranks)
        return 3 * (LAYERS * weights + head) * tokens + LAYERS * built
    tokens = workload.num_tokens
    shared = 2 * LAYERS * weights * tokens
    shared += 2 * head * workload.num_sequences * workload.completion
    if side == "lora":
        return shared + LAYERS * sum(3 * 16 * (m + n) for m, n in shapes) * tokens
    built = sum(r * r * (big + 2 * r) for r, big in ranks)
    return shared + LAYERS * (sum(r * r for r, _ in ranks) * tokens + built)


def samples(workload: Workload, vocab: int) -> list[Sample]:
    """Random groups, the same for every side."""
    generator = torch.Generator().manual_seed(0)

    def draw(count: int) -> tuple[int, ...]:
        return tuple(torch.randint(5, vocab, (count,), generator=generator).tolist())

    size = workload.completion
    prompts = [draw(workload.prompt) for _ in range(workload.groups)]
    return [
        Sample(prompt, draw(size), (-8.0,) * size, (-1.0) ** member)
        for prompt in prompts
        for member in range(workload.group_size)
    ]


def make(
    side: str, model: str, workload: Workload, *, token_budget: int = 2304
) -> Callable[[], Any]:
    """One step of one side, as a function without arguments.

    Args:
        token_budget: the learner's; two learners at once would not fit a laptop with its default.
    """
    from rlpeft.adapters.policy import attach_adapter
    from rlpeft.models.folder import resolve_model
    from rlpeft.models.load import load_base_model
    from rlpeft.training.learner import LocalLearner

    base = load_base_model(resolve_model(model), "float32")
    batch = samples(workload, base.config.vocab_size)
    if side == "reference":
        return Reference(base, batch).step
    adapter = SvfAdapter() if side == "svf" else LoraFamilyAdapter(type="lora", rank=16)
    learner = LocalLearner(
        attach_adapter(base, adapter, seed=0),
        LearnerConfig(lr=1e-4, token_budget=token_budget),
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
    make(side, model, EVEN)()
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
