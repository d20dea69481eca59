"""The learner: REINFORCE with KL on an adapter's parameters, four verbs and no loop.

`forward_backward` adds the gradient of a batch, `optim_step` moves the adapter, `state_dict` and
`load_state_dict` carry everything that decides the next step. `step` is the first two.

Only hidden states are kept for whole batches; logits exist for `logit_chunk` tokens at a time.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from peft import PeftModel
from torch.optim.lr_scheduler import LRScheduler
from torch.utils._pytree import tree_map_only
from transformers import get_constant_schedule_with_warmup, get_cosine_schedule_with_warmup

from rlpeft.adapter_state import AdapterState
from rlpeft.adapters.groups import parameter_groups
from rlpeft.adapters.methods import method_of_policy
from rlpeft.adapters.policy import adapter_state, load_tensors, sequence_logprobs
from rlpeft.errors import CheckpointError, ModelError
from rlpeft.models.sight import ImageProcessor
from rlpeft.recipe.run import LearnerConfig, LossConfig
from rlpeft.rollout.proof import Proof
from rlpeft.training.forward import GroupForward
from rlpeft.training.loss import TokenTerms, importance_ratio, reinforce, token_terms
from rlpeft.training.packing import WHOLE, Hand, MicroBatch, Sample, pack
from rlpeft.training.ranks import ALONE, Ranks
from rlpeft.training.shard import shard
from rlpeft.training.worked import Worked, step_metrics

CHOSEN = re.compile(r"\.experts\.\d+\.")
"""In the names of modules that only the tokens of their choice pass through."""


class LocalLearner:
    """Moves the trainable parameters of one policy in this process; a `protocol.Learner`.

    Args:
        policy: a PEFT model with one trainable adapter.
        config: optimizer and memory options.
        loss: the objective.
        total_steps: length of the run, for the schedule.
        temperature: the sampling temperature; log-probs are taken at it.
        processor: how the base model sees, where samples have images.

    Raises:
        ModelError: the base model attends or makes its logits in a way that the learner cannot
            express, or the adapter trains the output head.
    """

    def __init__(
        self,
        policy: PeftModel,
        config: LearnerConfig,
        loss: LossConfig,
        *,
        total_steps: int,
        temperature: float,
        processor: ImageProcessor | None = None,
    ) -> None:
        self.policy, self.config, self.loss = policy, config, loss
        method = method_of_policy(policy)
        self.method = None if method is None else method.auxiliary
        self.temperature = temperature
        self.forward = GroupForward(policy, processor)
        if any(p.requires_grad for p in self.forward.output_embeddings.parameters()):
            raise ModelError(
                "the output head must be frozen: its gradient would need the logits of a whole "
                "batch. Take it (lm_head) out of adapter.targets."
            )
        if config.gradient_checkpointing:
            policy.get_base_model().gradient_checkpointing_enable({"use_reentrant": False})
        # Only gradient checkpointing needs training mode; dropout would make scoring random.
        policy.train(config.gradient_checkpointing)
        self.parameters = {n: p for n, p in policy.named_parameters() if p.requires_grad}
        # AdamW as in Transformer²; its public code has Adam with moments in bf16, where 0.999 v
        # rounds back to v and never decays. Adapters are fp32 here, whatever the base's dtype.
        self.optimizer = torch.optim.AdamW(
            parameter_groups(policy, lr=config.lr, weight_decay=config.weight_decay),
            betas=config.betas,
        )
        self.schedule = _schedule(self.optimizer, config, total_steps)
        self.num_steps, self._all_reached = 0, False
        self._start: list[torch.Tensor] | None = None  # what the KL is of, if it is not the base
        self.ranks = self.lockstep = ALONE
        self.forward.check()

    @property
    def device(self) -> torch.device:
        """Where the policy is."""
        return next(self.policy.parameters()).device

    def join(self, ranks: Ranks) -> None:
        """Share every step from now on with other ranks; all have the first one's adapter.

        Raises:
            ModelError: they do not stand on the same factors.
        """
        self.ranks = ranks
        if self.config.parallel == "shard":
            self.forward.inside, self.lockstep = shard(self.policy, ranks.size), ranks
        state = self.adapter_state()
        if ranks.world_rank == 0:
            ranks.say(state.tensors)
        else:
            load_tensors(self.policy, ranks.hear())
        self.ranks.require_alike(self._digest, "adapters and factors")

    def step(self, samples: Sequence[Sample]) -> dict[str, float]:
        """One optimizer step on a batch; returns its metrics."""
        metrics = self.forward_backward(samples)
        return metrics | self.optim_step()

    def forward_backward(self, samples: Sequence[Sample]) -> dict[str, float]:
        """Add the gradient of the objective on this rank's part of these samples.

        Returns:
            Metrics of all ranks' parts.

        Raises:
            ModelError: the loss is not finite; gradients are cleared, the adapter has not moved.
        """
        batches = pack(
            samples,
            token_budget=self.config.token_budget,
            normalise=self.loss.normalise,
            hand=self._hand,
        )
        try:
            parts = self.ranks.together(lambda: self._own_part(batches))
        except Exception:
            self.optimizer.zero_grad()
            raise
        return step_metrics(parts)

    def _own_part(self, batches: Iterable[MicroBatch]) -> Worked:
        started = time.perf_counter()
        every = [(b.share, self._micro_batch(b.to(self.device))) for b in batches]
        records = [record for share, record in every if share]
        told = self.adapter_metrics() if records else {}
        return Worked(records, told, time.perf_counter() - started)

    def optim_step(self) -> dict[str, float]:
        """Add up the ranks' gradients, clip, move, advance the schedule, clear the gradient.

        Raises:
            ModelError: a gradient is not finite; the adapter has not moved.
        """
        lr = self.optimizer.param_groups[0]["lr"]
        self.ranks.sum_gradients(self.parameters.values())
        self.check_gradients()
        # Transformer² clips at 1e-3 (Table 6), far below what gradients of z measure: Adam is given
        # directions alone. That is `learner.max_grad_norm = 1e-3`.
        norm = torch.nn.utils.clip_grad_norm_(self.parameters.values(), self.config.max_grad_norm)
        self.optimizer.step()
        self.schedule.step()
        self.optimizer.zero_grad()
        self.has_moved()
        return {"grad_norm": float(norm), "learning_rate": float(lr)}

    def has_moved(self) -> None:
        """Count a step of the optimizer, which brought all ranks to the same adapter.

        Raises:
            ModelError: it did not.
        """
        self.num_steps += 1
        self.ranks.require_alike(self._digest, f"adapters after step {self.num_steps}")

    def check_gradients(self) -> None:
        """Refuse gradients that would spoil the adapter; they are cleared.

        Raises:
            ModelError: one of them, or an activation before it, is not finite; or, the first time
                that there are any, a trainable tensor has none.
        """
        grads = {n: p.grad for n, p in self.parameters.items() if p.grad is not None}
        if grads and not self._all_reached:
            self._check_reach(grads)
        # One number for all tensors; it refuses finite gradients whose norm overflows as well. In
        # Adam's moments NaN and infinity would stay for ever, so nothing moves before this.
        if _finite(torch.nn.utils.get_total_norm(grads.values())):
            return
        bad = [name for name, grad in grads.items() if not _finite(grad)]
        self.optimizer.zero_grad()
        self._name_broken_module()
        found = f"NaN or infinity first in {bad[0]!r}" if bad else "a norm beyond float32"
        raise ModelError(
            f"gradients must be finite, got {found} at step {self.num_steps + 1}; the adapter has "
            "not moved. Lower learner.lr, or the scores of rewards."
        )

    def _check_reach(self, grads: Mapping[str, torch.Tensor]) -> None:
        # An expert that no token of the batch chose has no gradient yet.
        missing = [n for n in self.parameters if n not in grads and not CHOSEN.search(n)]
        if missing:
            self.optimizer.zero_grad()
            raise ModelError(
                f"every trainable tensor must get a gradient, {len(missing)} of "
                f"{len(self.parameters)} have none, first {missing[0]!r}; the adapter has not "
                "moved. Take modules that the base model does not use, or that cut gradients, "
                "out of adapter.targets."
            )
        self._all_reached = True

    def auxiliary_loss(
        self, share: torch.Tensor | float, token_mask: torch.Tensor | None = None
    ) -> dict[str, torch.Tensor]:
        """What the adapter's method itself adds to the loss, after the forward it is about.

        Args:
            share: the micro-batch's part of the step.
            token_mask: [B, T], nonzero at tokens that count; ours are packed without padding.
        """
        if self.method is None:
            return {}
        return {"auxiliary_loss": self.method.loss(self.policy.base_model, token_mask) * share}

    def adapter_metrics(self) -> dict[str, float]:
        """What the adapter's method tells of the last micro-batch."""
        return {} if self.method is None else self.method.metrics(self.policy.base_model)

    @property
    def _hand(self) -> Hand:
        if self.ranks.size == 1:
            return WHOLE
        config = self.policy.get_base_model().config.get_text_config()
        in_step = self.config.parallel == "shard"
        return Hand(self.ranks.world_rank, self.ranks.size, config.hidden_size, in_step)

    def _digest(self) -> str:
        state = self.adapter_state()
        return f"{state.digest} {sorted(state.factors.items())}"

    def adapter_state(self) -> AdapterState:
        """The adapter as it is now; its version is the number of steps taken."""
        return adapter_state(self.policy, self.num_steps)

    def load_adapter(self, state: AdapterState) -> None:
        """Take over another adapter's values; optimizer and step count stay as they are.

        Raises:
            ModelError: the policy has no place for one of its tensors.
        """
        load_tensors(self.policy, state.tensors)

    def start_from(self, state: AdapterState) -> None:
        """Take over the values that training begins with; see `protocol.Learner`."""
        self.load_adapter(state)
        if self.loss.reference == "start":
            self._start = self.values()

    def values(self) -> list[torch.Tensor]:
        """A copy of its parameters as they are now."""
        return [parameter.detach().clone() for parameter in self.parameters.values()]

    def proof(self, canary: Sequence[Sequence[int]], bound: float) -> Proof:
        """The adapter as it is now, with what proves its delivery; see `Proof`."""
        return Proof(self.adapter_state(), canary, self.logprobs(canary), bound)

    def logprobs(self, sequences: Sequence[Sequence[int]]) -> list[list[float]]:
        """Log-prob (temperature 1, fp32) of each token after the first, sequence by sequence."""
        return sequence_logprobs(self.policy, sequences)

    def state_dict(self) -> dict[str, Any]:
        """Adapter parameters, optimizer, schedule and step count, copied to the CPU.

        Whoever takes it may have no other device.
        """
        state = {
            "parameters": self.parameters,
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "num_steps": self.num_steps,
        }
        return tree_map_only(torch.Tensor, lambda tensor: tensor.detach().cpu().clone(), state)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from `state_dict`.

        Raises:
            CheckpointError: it belongs to an adapter with other parameters.
        """
        if state["parameters"].keys() != self.parameters.keys():
            odd = sorted(state["parameters"].keys() ^ self.parameters.keys())
            raise CheckpointError(
                f"checkpoint and adapter must have the same parameters, they differ in {odd[:3]}. "
                "Continue with the recipe the checkpoint was made with."
            )
        with torch.no_grad():
            for name, parameter in self.parameters.items():
                parameter.copy_(state["parameters"][name])
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])
        self.num_steps = state["num_steps"]

    def _micro_batch(self, batch: MicroBatch) -> dict[str, torch.Tensor]:
        """Add one micro-batch's gradient."""
        objective, terms, auxiliary = self.forward.inside(lambda: self._objective(batch))
        # Ranks that gather each other's weights go into the backward pass together, or none does.
        self.lockstep.together(lambda: self._require_finite(objective))
        objective.backward()
        # The ratio as it is recorded has no cap: what the cap hides is what must be seen.
        difference_N = terms.logprobs_N.detach() - batch.logprobs_N
        kl = {"kl": terms.kl_N.detach()} if self.loss.kl_coef else {}
        return {
            **kl,
            **{name: value.detach()[None] for name, value in auxiliary.items()},
            "loss": objective.detach()[None],
            "entropy": terms.entropy_N,
            "ratio": torch.exp(difference_N),
            "gap": difference_N.abs(),
        }

    def _objective(
        self, batch: MicroBatch
    ) -> tuple[torch.Tensor, TokenTerms, dict[str, torch.Tensor]]:
        """The loss of a micro-batch, with its terms and what the adapter's method adds to it."""
        loss = self.loss
        reference_hidden_ND = self._reference_hidden(batch) if loss.kl_coef else None
        terms = token_terms(
            self.forward.hidden(batch),
            reference_hidden_ND,
            batch.targets_N,
            head=self.forward.head,
            temperature=self.temperature,
            kl=loss.kl,
            chunk=self.config.logit_chunk,
        )
        ratio_N = importance_ratio(terms.logprobs_N, batch.logprobs_N, loss.ratio_cap)
        objective = reinforce(terms, ratio_N, batch.advantages_N, batch.weights_N, loss.kl_coef)
        auxiliary = self.auxiliary_loss(batch.share)
        return objective + sum(auxiliary.values()), terms, auxiliary

    def _require_finite(self, objective: torch.Tensor) -> None:
        if not torch.isfinite(objective):
            self.optimizer.zero_grad()
            self._name_broken_module()
            raise ModelError(
                f"the loss must be finite, got {objective.item()} at step {self.num_steps + 1}; "
                "the adapter has not moved. Lower learner.lr or check the base model's dtype."
            )

    @torch.no_grad()
    def _reference_hidden(self, batch: MicroBatch) -> torch.Tensor:
        with self._at_start() if self.loss.reference == "start" else self.policy.disable_adapter():
            return self.forward.hidden(batch)

    @contextmanager
    def _at_start(self) -> Iterator[None]:
        """The policy that training began with, in place: no graph may be waiting for a backward."""
        assert self._start is not None, "loss.reference = 'start' needs start_from"
        now = self.values()
        self.put(self._start)
        try:
            yield
        finally:
            self.put(now)

    @torch.no_grad()
    def put(self, values: Sequence[torch.Tensor]) -> None:
        """Give its parameters these values, which are in their order."""
        for parameter, value in zip(self.parameters.values(), values, strict=True):
            parameter.copy_(value)

    def _name_broken_module(self) -> None:
        """Raise where the adapter's method can tell in which module NaN or inf began."""
        if self.method is not None:
            self.method.check(self.policy.base_model)


def _schedule(
    optimizer: torch.optim.Optimizer, config: LearnerConfig, total_steps: int
) -> LRScheduler:
    if config.schedule == "cosine":
        return get_cosine_schedule_with_warmup(optimizer, config.warmup_steps, total_steps)
    return get_constant_schedule_with_warmup(optimizer, config.warmup_steps)


def _finite(tensor: torch.Tensor) -> bool:
    return bool(torch.isfinite(tensor).all())
