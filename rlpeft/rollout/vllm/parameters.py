"""Sampling in vLLM's terms, with nothing left to vLLM's defaults that changes a distribution."""

from __future__ import annotations

from typing import Any

from vllm import SamplingParams

from rlpeft.errors import EngineError
from rlpeft.rollout.ends import Stops
from rlpeft.types import FinishReason, Sampling

SMALLEST_TEMPERATURE = 0.01
"""vLLM quietly raises smaller temperatures to this one."""


def sampled(sampling: Sampling, seed: int, *, max_tokens: int, stops: Stops) -> SamplingParams:
    """For one completion.

    Args:
        stops: ids, end-of-sequence ones included, and strings that end it.

    Raises:
        EngineError: vLLM would sample at another temperature.
    """
    if 0 < sampling.temperature < SMALLEST_TEMPERATURE:
        raise EngineError(
            f"temperature must be 0 or at least {SMALLEST_TEMPERATURE} in vLLM, got "
            f"{sampling.temperature!r}."
        )
    return _every_parameter(
        max_tokens=max_tokens,
        temperature=sampling.temperature,
        top_p=sampling.top_p,
        top_k=sampling.top_k,
        min_p=sampling.min_p,
        seed=seed,
        stop=list(stops.strings),
        stop_token_ids=list(stops.token_ids),
        detokenize=bool(stops.strings),
        # Decides where stop strings are looked for alone; the text itself is made by us.
        skip_special_tokens=not stops.hold_special,
        logprobs=0,
    )


def scored() -> SamplingParams:
    """For the log-probs of a prompt; vLLM reads no prefix cache where they are asked for."""
    return _every_parameter(max_tokens=1, temperature=0.0, prompt_logprobs=0)


def _every_parameter(
    *,
    max_tokens: int,
    temperature: float,
    top_p: float = 1.0,
    top_k: int = 0,
    min_p: float = 0.0,
    **others: Any,
) -> SamplingParams:
    others = {
        "seed": 0,
        "stop": [],
        "stop_token_ids": [],
        "detokenize": False,
        "skip_special_tokens": True,
    } | others
    return SamplingParams(
        n=1,
        max_tokens=max_tokens,
        min_tokens=0,
        temperature=temperature,
        top_p=top_p,
        top_k=top_k,
        min_p=min_p,
        repetition_penalty=1.0,
        presence_penalty=0.0,
        frequency_penalty=0.0,
        logit_bias=None,
        bad_words=[],
        allowed_token_ids=None,
        ignore_eos=False,
        flat_logprobs=True,
        skip_clone=True,  # made for one request each
        **others,
    )


def flat(logprobs: Any) -> list[float]:
    """One log-prob for each position that has one: of the token itself, since none was ranked."""
    return [float(value) for value in logprobs.logprobs] if logprobs else []


def finish_reason(reason: str | None) -> FinishReason:
    """Ours for vLLM's.

    Raises:
        EngineError: vLLM gave the completion up.
    """
    if reason not in ("stop", "length"):
        raise EngineError(f"a completion must end by 'stop' or 'length', vLLM says {reason!r}.")
    return FinishReason(reason)
