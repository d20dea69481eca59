"""Laws of weights: the learner computes what the model computes, and engines sample it."""

from __future__ import annotations

from typing import Any

import torch

from rlpeft.adapters.targets import counted, kind_counts, left_out, projections
from rlpeft.model_checks.engines import Stage
from rlpeft.model_checks.finding import Finding, absent, broken, holds, listed, quoted, tokens
from rlpeft.model_checks.subject import Subject
from rlpeft.models.gap import largest_gap
from rlpeft.models.mechanisms import read_mechanisms
from rlpeft.training.packing import Sample, pack
from rlpeft.types import Completion

TOLERANCE = {"float32": 1e-3, "bfloat16": 0.3, "float16": 0.05}
"""Log-prob difference of one token up to which two ways of computing it agree."""

BUDGET = 4096
"""Tokens of a packed micro-batch."""

UNEMBEDDED = "Take the tokenizer that belongs to the model, or resize its embeddings and save it."


def mechanisms(subject: Subject) -> Finding:
    """Windows, caps and scales in the config are expressed, or refused with one line."""
    return holds(read_mechanisms(subject.config).describe())


def loads(subject: Subject) -> Finding:
    """The weights are those of the config, all of them."""
    named = list(subject.base.named_parameters())
    if zero := [name for name, weight in named if weight.dim() > 1 and not weight.any()]:
        return broken(
            f"every number is zero in {listed(zero)}",
            "Save the model again from the place where it was whole; zeros compute nothing.",
        )
    size = sum(weight.numel() for _, weight in named)
    kind = subject.config.get_text_config().model_type
    return holds(f"{type(subject.base).__name__} ({kind}), {size:,} parameters in {subject.dtype}")


def embeddings(subject: Subject) -> Finding:
    """Every token of the tokenizer has an embedding."""
    tokenizer = subject.tokenizer
    known = {*tokenizer.get_vocab().values(), *getattr(tokenizer, "added_tokens_decoder", {})}
    rows = _num_rows(subject)
    if lost := sorted(id for id in known if id >= rows):
        names = [str(tokenizer.convert_ids_to_tokens(id)) for id in lost]
        return broken(
            f"{rows} for {len(known)} tokens: none for {listed(names)}, from id {lost[0]} on",
            UNEMBEDDED,
        )
    if spare := sorted({*range(rows)} - known):
        # Sampled by a policy at random, they must read as something.
        tokenizer.decode([spare[-1]])
        return holds(f"{rows} for {len(known)} tokens; {len(spare)} stand for none")
    return holds(f"{rows} for {len(known)} tokens")


def _num_rows(subject: Subject) -> int:
    if subject.weights:
        return len(subject.base.get_input_embeddings().weight)
    return int(subject.config.get_text_config().vocab_size)


def targets(subject: Subject) -> Finding:
    """The default targets of adapters are found, and none of them shares its weights."""
    base = subject.base
    names = projections(base)
    shared = _shared(base)
    if both := [name for name in names if base.get_submodule(name).weight.data_ptr() in shared]:
        return broken(
            f"{quoted(both[0])} shares its weights with another module, which would move with it",
            "Name adapter.targets without it.",
        )
    others = left_out(base, names)
    found = f"{len(names)} modules: {counted(kind_counts(names))}"
    return holds(f"{found}; left out: {counted(others)}" if others else found)


def _shared(base: Any) -> set[int]:
    """Where weights lie that more than one module computes with."""
    owners: dict[int, int] = {}
    for module in base.modules():
        for parameter in module.parameters(recurse=False):
            owners[parameter.data_ptr()] = owners.get(parameter.data_ptr(), 0) + 1
    return {place for place, count in owners.items() if count > 1}


def tied_head(subject: Subject) -> Finding:
    """A merge into the head leaves the input embedding as it is."""
    base = subject.base
    head, embedding = base.get_output_embeddings(), base.get_input_embeddings()
    if head is None:
        return absent("the model has no output head")
    says = bool(getattr(base.config.get_text_config(), "tie_word_embeddings", False))
    if head.weight.data_ptr() != embedding.weight.data_ptr():
        if says:
            return broken(
                "config.json ties head and embedding, the weights are two",
                "Save the model again; exports would write only one of them.",
            )
        return holds("head and embedding have weights of their own")
    return holds("head and embedding are one; an adapter on the head is not trained or merged")


def neighbours(subject: Subject) -> Finding:
    """What shares a batch with a prompt, and pads it, does not change its answer."""
    rollouts = subject.rollouts
    for request, ours, theirs in zip(
        rollouts.requests, rollouts.together, rollouts.alone, strict=True
    ):
        for one, other in zip(ours, theirs, strict=True):
            if one.token_ids != other.token_ids and subject.dtype == "float32":
                return broken(
                    f"after {len(request.prompt_ids)} tokens, in a batch "
                    f"{tokens(subject.tokenizer, one.token_ids)}, alone "
                    f"{tokens(subject.tokenizer, other.token_ids)}",
                    "Set rollout.batch_size = 1, and tell us.",
                )
    gap = max(
        largest_gap([c.logprobs for c in group], own)
        for group, own in zip(rollouts.together, rollouts.own, strict=True)
    )
    lengths = sorted({len(request.prompt_ids) for request in rollouts.requests})
    found = f"prompts of {', '.join(map(str, lengths))} tokens in one batch"
    return _agreed(gap, subject.dtype, f"{found}; log-probs of samples and of each alone differ by")


def learner_own(subject: Subject) -> Finding:
    """The learner's packed forward pass gives the model's own log-probs, windows included."""
    gap, count = _packed_gap(subject, subject.rollouts.together, subject.rollouts.own)
    found = subject.learner.forward.mechanisms.describe()
    longest = max(len(request.prompt_ids) for request in subject.rollouts.requests)
    windows = [w for w in subject.learner.forward.mechanisms.windows if w is not None]
    unseen = "" if longest > max(windows, default=0) else " (the window was not reached)"
    text = f"{found}; over {count} tokens behind up to {longest}{unseen} they differ by"
    return _agreed(gap, subject.dtype, text)


def learner_engine(stage: Stage) -> Finding:
    """The learner gives an engine's samples the log-probs that they were drawn with."""
    subject = stage.subject
    if not subject.weights:
        return absent("no weights are looked at")
    groups = stage.samples
    rows = [[list(c.logprobs) for c in group] for group in groups]
    gap, count = _packed_gap(subject, groups, rows)
    found = f"over {count} tokens of {sum(map(len, groups))} samples they differ by"
    return _agreed(gap, subject.dtype, found)


def _agreed(gap: float, dtype: str, found: str) -> Finding:
    shown = f"{found} at most {gap:.2g}"
    if gap <= TOLERANCE[dtype]:
        return holds(shown)
    return broken(
        f"{shown} ({TOLERANCE[dtype]:g} is accepted)",
        "Do not train on it: the policy that learns is not the one that speaks. Tell us.",
    )


@torch.no_grad()
def _packed_gap(
    subject: Subject, groups: list[list[Completion]], expected: list[list[list[float]]]
) -> tuple[float, int]:
    """Largest difference between the learner's packed log-probs and others, and of how many."""
    samples = [
        Sample(request.prompt_ids, completion.token_ids, tuple(row), 0.0)
        for request, group, rows in zip(subject.requests, groups, expected, strict=True)
        for completion, row in zip(group, rows, strict=True)
    ]
    forward, gaps = subject.learner.forward, list[float]()
    for batch in pack(samples, token_budget=BUDGET):
        batch = batch.to(subject.learner.device)
        log_pi_NV = torch.log_softmax(forward.head(forward.hidden(batch)).float(), -1)
        ours = log_pi_NV.gather(-1, batch.targets_N[:, None])[:, 0]
        gaps += (ours - batch.logprobs_N).abs().tolist()
    return largest_gap([gaps], [[0.0] * len(gaps)]), len(gaps)
