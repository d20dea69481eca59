"""What is asked of workers is what they answer, and a refusal is an error here."""

from __future__ import annotations

import ast
import inspect
from pathlib import Path

import pytest
import torch

from rlpeft.adapter_state import AdapterState
from rlpeft.errors import EngineError

pytest.importorskip("vllm")

from rlpeft import serve
from rlpeft.rollout import vllm
from rlpeft.rollout.vllm.calls import (
    BASE_DIGEST,
    REST,
    add_expert_call,
    answer,
    drop_expert_call,
    experts_call,
    load_call,
    watch_call,
)
from rlpeft.rollout.vllm.worker import AdapterWorker

STATE = AdapterState({"peft_type": "SVF"}, {"q.svf_z": torch.ones(3)}, 1, {"q": "0123"})
METHODS = {name for name in vars(AdapterWorker) if name.startswith("rlpeft_")}


def test_a_worker_has_every_method_that_is_asked_for_and_takes_what_is_sent() -> None:
    calls = [load_call(STATE, {}), experts_call({"a": STATE}, [1]), watch_call(), BASE_DIGEST]
    calls += [add_expert_call(1, STATE), drop_expert_call(1), REST]
    assert {call.method for call in calls} == METHODS
    for call in calls:
        inspect.signature(getattr(AdapterWorker, call.method)).bind(None, *call.args)


def test_a_refusal_of_the_workers_is_an_error_here() -> None:
    with pytest.raises(EngineError, match=r"^no such module\.$"):
        answer(['{"error": "no such module."}'])
    assert answer(['{"digest": "ab"}']) == {"digest": "ab"}


def test_every_worker_of_an_engine_must_answer_and_answer_alike() -> None:
    with pytest.raises(EngineError, match=r"^no such module\.$"):
        answer(['{"digest": "ab"}', '{"error": "no such module."}'])
    with pytest.raises(EngineError, match=r"worker 1 answers .*cd"):
        answer(['{"digest": "ab"}', '{"digest": "cd"}'])
    assert answer(['{"digest": "ab"}'] * 2) == {"digest": "ab"}


@pytest.mark.parametrize("room", [vllm, serve])
def test_no_other_file_names_a_method_of_the_workers(room: object) -> None:
    (folder,) = room.__path__  # type: ignore[attr-defined]
    naming = {
        path.name
        for path in Path(folder).glob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Constant) and node.value in METHODS
    }
    assert naming <= {"calls.py"}
