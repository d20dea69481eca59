"""A policy's forward pass over groups: hidden states of completion tokens, and logits from them.

Only hidden states are made for a whole batch; whoever needs logits makes a chunk of them with
`GroupForward.head`. What the model does on the way is read from its config
(`rlpeft.models.mechanisms`); a probe of a few tokens then holds the result against the model's own.

N completion token of a micro-batch, D hidden size, V vocabulary, T token.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from peft import PeftModel
from peft.tuners.tuners_utils import BaseTunerLayer

from rlpeft.adapters.policy import sequence_logprobs
from rlpeft.errors import ModelError
from rlpeft.models.load import context_length
from rlpeft.models.mechanisms import read_mechanisms
from rlpeft.models.sight import ImageProcessor, embedded
from rlpeft.training.group_attention import NAME, LayerGroups
from rlpeft.training.packing import MicroBatch, Sample, pack

PROBE_TOLERANCE = {torch.float32: 1e-3, torch.bfloat16: 0.1, torch.float16: 0.02}
"""Mean log-prob difference accepted between the groups' forward pass and the model's own.

In 16 bits it is about two steps of the dtype at logits of 8 to 16 (bf16 0.063, fp16 0.008), which
is the noise of the sums that make one."""

SHORT_PROBE = 6
"""Tokens of the probe's longest prompt, where no window asks for more."""

PROBE_WORK = 5e11
"""Parameters times tokens that a probe longer than the window may cost: half a minute on a CPU."""


class GroupForward:
    """The forward pass of one policy over packed groups.

    Args:
        policy: a PEFT model; its attention function is replaced.
        processor: how the base model sees, where batches have images.

    Attributes:
        mechanisms: what the base model does beside plain attention and a plain head.
        inside: calls what makes use of it; where weights are sharded, they are whole meanwhile.

    Raises:
        ModelError: the base model's config asks for something that cannot be expressed.
    """

    def __init__(self, policy: PeftModel, processor: ImageProcessor | None = None) -> None:
        base = policy.get_base_model()
        self.processor = processor
        self.policy, self.mechanisms = policy, read_mechanisms(base.config)
        self.decoder, self.output_embeddings = base.get_decoder(), base.get_output_embeddings()
        if self.output_embeddings is None or self.decoder is base:
            raise ModelError(
                f"the learner needs a decoder with one output head over it, "
                f"{type(base).__name__} has none. Take a causal language model."
            )
        self.inside: Callable[[Callable[[], Any]], Any] = lambda do: do()
        base.set_attn_implementation(NAME)
        for module in base.modules():
            # A forward without gradients makes bitsandbytes repack its 4-bit weights on CPUs with
            # AVX512-BF16; after that no input gets a gradient.
            if getattr(module, "support_avx512bf16_for_cpu", False):
                module.support_avx512bf16_for_cpu = False

    def head(self, hidden: torch.Tensor) -> torch.Tensor:
        """Logits [..., V] of hidden states [..., D], as the base model makes them."""
        logits: torch.Tensor = self.output_embeddings(hidden)
        if self.mechanisms.logit_scale != 1:
            logits = logits * self.mechanisms.logit_scale
        if (cap := self.mechanisms.logit_cap) is not None:
            logits = torch.tanh(logits / cap) * cap
        return logits

    def hidden(self, batch: MicroBatch) -> torch.Tensor:
        """Last hidden states [N, D] at the positions that predict completion tokens."""
        return self._hidden(batch, LayerGroups(batch.groups, self.mechanisms))

    def _hidden(self, batch: MicroBatch, groups: LayerGroups) -> torch.Tensor:
        output = self.decoder(
            **self._read(batch),
            position_ids=batch.positions_T[None],
            # A mask of four axes goes to the attention function as it is, and that has `groups`.
            attention_mask=batch.tokens_T.new_ones(1, 1, 1, 1, dtype=torch.bool),
            groups=groups,
            use_cache=False,
        )
        return output.last_hidden_state[0, batch.sources_N]

    def _read(self, batch: MicroBatch) -> dict[str, torch.Tensor]:
        """What the decoder is given: ids, or their embeddings where some stand for images."""
        ids_BT, shown = batch.tokens_T[None], batch.shown
        if shown is None:
            return {"input_ids": ids_BT}
        if self.processor is None:
            raise ModelError(
                "samples must have no images, the learner's model sees none. Build the learner "
                "with the base model's processor."
            )
        base, places = self.policy.get_base_model(), shown.prompts_T[None]
        return {"inputs_embeds": embedded(base, self.processor, ids_BT, places, shown.images)}

    @torch.no_grad()
    def check(self) -> None:
        """Hold logits and groups against what the model itself computes.

        Raises:
            ModelError: they differ, or a layer attends in a way of its own.
        """
        samples = self._probe()
        self._check_head(samples[0].prompt_ids)
        (batch,) = pack(samples, token_budget=10**9)
        batch = batch.to(self.policy.device)
        groups = LayerGroups(batch.groups, self.mechanisms)
        try:
            hidden_ND = self._hidden(batch, groups)
        except (TypeError, ValueError, RuntimeError, IndexError) as error:
            # Recovery: a decoder that does not hand groups on fails in ways of its own.
            if isinstance(error, ModelError) or groups.served:
                raise
            raise self._refusal("no layer does") from error
        if not groups.served:
            raise self._refusal("no layer does")
        if sorted(groups.served) != list(range(len(self.mechanisms.windows))):
            raise self._refusal(
                f"with {len(self.mechanisms.windows)} layers these did: {sorted(groups.served)}"
            )
        windows = {self.mechanisms.windows[layer] or 0 for layer in groups.unsaid}
        if max(windows, default=0) >= len(samples[0].prompt_ids):
            # Some configs carry windows that their model never reads, and no probe could tell.
            raise self._refusal(
                f"layers {groups.unsaid} do not ask for the sliding_window of {windows} in their "
                "config, and a probe as long costs too much"
            )
        self._check_flow()
        self._check_logprobs(batch, hidden_ND, samples)

    def _check_flow(self) -> None:
        """Every adapted layer passes a gradient on to its input, after a forward without."""
        for name, module in self.policy.named_modules():
            if not isinstance(module, BaseTunerLayer):
                continue
            layer = module.get_base_layer()
            if (size := getattr(layer, "in_features", None)) is None:
                continue
            x = torch.ones(1, size, dtype=self.policy.dtype, device=self.policy.device)
            with torch.enable_grad():
                y = layer(x.requires_grad_())
            if not y.requires_grad:
                raise ModelError(
                    f"every base layer must pass gradients on to what lies before it, "
                    f"{type(layer).__name__} {name!r} cuts them. Load the base model unquantised, "
                    "or with another quantisation."
                )

    def _check_head(self, tokens: tuple[int, ...]) -> None:
        ids = torch.tensor([tokens], device=self.policy.device)
        theirs = self.policy(input_ids=ids, use_cache=False).logits.float()
        output = self.decoder(input_ids=ids, use_cache=False)
        ours = self.head(output.last_hidden_state).float()
        # The same operations in the same order, but for a scale that is divided by.
        bound = 16 * torch.finfo(self.policy.dtype).eps * float(theirs.abs().max())
        if ours.shape != theirs.shape or not bool(((ours - theirs).abs() <= bound).all()):
            raise ModelError(
                f"the learner makes logits as {self.mechanisms.describe().rpartition('; ')[2]}, "
                f"{type(self.policy.get_base_model()).__name__} makes others from the same hidden "
                "states. Take another base model for training."
            )

    def _check_logprobs(
        self, batch: MicroBatch, hidden_ND: torch.Tensor, samples: list[Sample]
    ) -> None:
        log_pi_NV = torch.log_softmax(self.head(hidden_ND).float(), -1)
        ours = log_pi_NV.gather(-1, batch.targets_N[:, None]).flatten().cpu()
        rows = sequence_logprobs(self.policy, [s.prompt_ids + s.completion_ids for s in samples])
        # The longest prompt comes first: the batch has the samples in their order.
        ends = [row[-len(s.completion_ids) :] for s, row in zip(samples, rows, strict=True)]
        theirs = torch.tensor([logprob for end in ends for logprob in end])
        gap = float((ours - theirs).abs().mean())
        # Not `gap >`: NaN is refused, too.
        if not gap <= PROBE_TOLERANCE[self.policy.dtype]:
            raise self._refusal(
                f"the log-probs of a probe differ by {gap:.3g} in the mean from the model's own"
            )

    def _refusal(self, found: str) -> ModelError:
        return ModelError(
            "every layer must attend once, causally and through transformers' attention "
            f"interface; of {type(self.decoder).__name__} {found}. Take another base model for "
            "training."
        )

    def _probe(self) -> list[Sample]:
        """Two prompts, one longer than the window where that is affordable."""
        window = max((w for w in self.mechanisms.windows if w is not None), default=0)
        size = sum(parameter.numel() for parameter in self.policy.parameters())
        config, length = self.policy.get_base_model().config, SHORT_PROBE
        if window and window + 2 * length <= context_length(config) and size * window <= PROBE_WORK:
            length += window
        # Ids that differ from their neighbours, and that the smallest vocabularies have.
        vocabulary = min(config.get_text_config().vocab_size, 97)
        prompt = tuple(7 * at % vocabulary for at in range(length))
        pairs = ((prompt, (1, 2, 3, 4)), (prompt, (3, 1, 2)), ((2, 4), (2, 2, 1, 3, 4)))
        return [Sample(p, c, (0.0,) * len(c), 0.0) for p, c in pairs]
