"""What `/metrics` says of each expert."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("vllm")

from prometheus_client import REGISTRY, generate_latest
from vllm.sampling_params import RequestOutputKind

from rlpeft.serve.metrics import counted, forget

pytestmark = pytest.mark.vllm

NAME = 'a "name"\\'


def lines() -> dict[str, float]:
    page = generate_latest(REGISTRY).decode()
    found = [line for line in page.splitlines() if line.startswith("rlpeft:") and "name" in line]
    return {line.partition("{")[0]: float(line.rpartition(" ")[2]) for line in found}


def output(*tokens: tuple[int, int]) -> Any:
    parts = [SimpleNamespace(index=k, token_ids=[0] * number) for k, number in tokens]
    return SimpleNamespace(outputs=parts)


@pytest.fixture(autouse=True)
def unseen() -> Any:
    yield
    forget(NAME)


@pytest.mark.parametrize(
    ("kind", "told"),
    [
        (RequestOutputKind.DELTA, [output((0, 1)), output((1, 1)), output((0, 2), (1, 1))]),
        (RequestOutputKind.CUMULATIVE, [output((0, 1)), output((0, 3), (1, 2))]),
        (RequestOutputKind.FINAL_ONLY, [output((0, 3), (1, 2))]),
    ],
)
def test_an_experts_tokens_are_counted_however_they_come(
    kind: RequestOutputKind, told: list[Any]
) -> None:
    with counted(NAME, kind) as count:
        for each in told:
            count(each)
    found = lines()
    assert found["rlpeft:expert_tokens_total"] == 5
    assert found["rlpeft:expert_requests_total"] == 1
    assert "rlpeft:expert_errors_total" not in found


def test_a_failure_is_counted_and_one_who_leaves_is_none() -> None:
    with pytest.raises(ValueError, match="broken"), counted(NAME, RequestOutputKind.DELTA):
        raise ValueError("broken")
    with pytest.raises(GeneratorExit), counted(NAME, RequestOutputKind.DELTA):
        raise GeneratorExit
    found = lines()
    assert (found["rlpeft:expert_errors_total"], found["rlpeft:expert_requests_total"]) == (1, 2)


def test_an_expert_that_went_is_on_the_page_no_more() -> None:
    with counted(NAME, RequestOutputKind.DELTA):
        pass
    assert lines()
    forget(NAME)
    forget(NAME)
    assert not lines()
