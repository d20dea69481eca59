"""vLLM beyond every limit of its scheduler and its cache, against transformers. One engine."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("vllm")

from rlpeft.adapters.policy import attach_adapter, sequence_logprobs
from rlpeft.errors import EngineError
from rlpeft.models.folder import resolve_model
from rlpeft.models.gap import largest_gap
from rlpeft.models.load import load_base_model
from rlpeft.recipe.run import SvfAdapter
from rlpeft.rollout.vllm.engine import VllmEngine
from rlpeft.types import Request, Sampling

pytestmark = [pytest.mark.vllm, pytest.mark.slow, pytest.mark.timeout(600)]

CONTEXT = 512
"""All that the tiny model has."""

CACHE = 8 << 20
"""Bytes: 32 blocks of 128 tokens, which is a fifteenth of what the batch below asks for."""


@pytest.fixture(scope="module")
def engine() -> Iterator[VllmEngine]:
    engine = VllmEngine(resolve_model("tiny"), None, kv_cache_memory_bytes=CACHE)
    yield engine
    engine.close()


def logprobs(sequences: list[tuple[int, ...]]) -> list[list[float]]:
    policy = attach_adapter(load_base_model(resolve_model("tiny")), SvfAdapter(), seed=0).eval()
    return sequence_logprobs(policy, sequences)


def prompt(number: int, length: int) -> tuple[int, ...]:
    return (1, *(20 + (7 * number + 3 * j) % 60 for j in range(length - 1)))


def test_300_prompts_in_groups_that_overflow_steps_batch_and_cache(engine: VllmEngine) -> None:
    """36,600 prompt tokens for steps of 4,096; 600 completions for a batch of 256; and every
    completion outgrows its first block, so that others are thrown out of the cache and come back.
    """
    scheduler = engine._core._llm.llm_engine.vllm_config.scheduler_config
    assert scheduler.max_num_batched_tokens < 300 * 122
    assert scheduler.max_num_seqs < 600
    requests = [Request(f"{k}", prompt(k, 122), (k, 1000 + k)) for k in range(300)]
    groups = engine.rollout(requests, Sampling(max_tokens=12))
    few = range(0, 300, 20)
    sequences = [(*requests[k].prompt_ids, *c.token_ids) for k in few for c in groups[k]]
    found = [c.logprobs for k in few for c in groups[k]]
    assert largest_gap(found, [row[121:] for row in logprobs(sequences)]) <= 1e-4
    alone = [engine.rollout([requests[k]], Sampling(max_tokens=12))[0] for k in few]
    assert [c.token_ids for pair in alone for c in pair] == [
        c.token_ids for k in few for c in groups[k]
    ]


def test_a_prompt_that_leaves_room_for_one_token_gets_one(engine: VllmEngine) -> None:
    requests = [Request(f"{k}", prompt(k, CONTEXT - 1), (k,)) for k in range(12)]
    for request, (completion,) in zip(
        requests, engine.rollout(requests, Sampling(max_tokens=9)), strict=True
    ):
        assert len(completion.token_ids) == 1
        (row,) = logprobs([(*request.prompt_ids, *completion.token_ids)])
        assert completion.logprobs[0] == pytest.approx(row[-1], abs=1e-4)


def test_a_prompt_as_long_as_the_context_is_refused_by_name(engine: VllmEngine) -> None:
    with pytest.raises(EngineError, match=r"prompt 'long' must have 1 to 511 tokens .* has 512"):
        engine.rollout([Request("long", prompt(0, CONTEXT), (0,))], Sampling(max_tokens=9))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_num_batched_tokens": 64}, r"max_num_batched_tokens \(64\) is smaller than max_mod"),
        ({"kv_cache_memory_bytes": 1}, "did not start: .*rollout.options.kv_cache_memory_bytes"),
    ],
)
def test_a_limit_too_small_for_one_sequence_is_told_at_the_start(
    options: dict[str, int], message: str
) -> None:
    with pytest.raises(EngineError, match=message) as raised:
        VllmEngine(resolve_model("tiny"), None, **options)
    Path(str(raised.value).rpartition(" ")[2]).unlink()  # it names its log, which stays
