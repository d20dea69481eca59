"""What each expert has done, beside vLLM's own figures on `/metrics`.

A question of `auto` counts for whom it asks. What the gate refuses reaches no expert.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from prometheus_client import REGISTRY, Counter
from vllm.sampling_params import RequestOutputKind

REQUESTS = Counter("rlpeft:expert_requests", "Prompts that an expert was asked.", ["expert"])
TOKENS = Counter("rlpeft:expert_tokens", "Tokens that an expert has generated.", ["expert"])
SECONDS = Counter("rlpeft:expert_seconds", "From prompts' arrivals to their ends.", ["expert"])
ERRORS = Counter("rlpeft:expert_errors", "Prompts that an expert failed at.", ["expert"])


@contextmanager
def counted(name: str, kind: RequestOutputKind) -> Iterator[Callable[[Any], None]]:
    """Count one prompt of an expert; call it with each of vLLM's outputs, which are of a kind."""
    started, tokens = time.perf_counter(), dict[int, int]()
    REQUESTS.labels(name).inc()

    def count(output: Any) -> None:
        for each in output.outputs:
            before = tokens.get(each.index, 0) if kind is RequestOutputKind.DELTA else 0
            tokens[each.index] = before + len(each.token_ids)

    try:
        yield count
    except Exception:  # a client that leaves is none
        ERRORS.labels(name).inc()
        raise
    finally:
        TOKENS.labels(name).inc(sum(tokens.values()))
        SECONDS.labels(name).inc(time.perf_counter() - started)


def leave_out_combinations(client: Any) -> None:
    """Have vLLM's engine keep no `vllm:lora_requests_info`, whose rows are all sets of experts that
    ever ran together: clients could make the page, and this process, grow without end."""
    for logger in client.logger_manager.stat_loggers:
        if (gauge := getattr(logger, "gauge_lora_info", None)) is not None:
            logger.gauge_lora_info = None
            REGISTRY.unregister(gauge)


def forget(name: str) -> None:
    """Show an expert no more: names come and go, and a page with all of them would only grow."""
    for counter in (REQUESTS, TOKENS, SECONDS, ERRORS):
        with suppress(KeyError):  # nobody has asked it
            counter.remove(name)
