"""What the server refuses before any engine is asked."""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("vllm")

from vllm.exceptions import VLLMValidationError
from vllm.sampling_params import SamplingParams

from rlpeft.errors import EngineError
from rlpeft.rollout.vllm_plugin.hf_client import to_sampling
from rlpeft.rollout.vllm_plugin.server import check_environment
from rlpeft.types import Sampling

pytestmark = pytest.mark.vllm


def test_the_hf_engine_is_given_what_it_can_do() -> None:
    asked = SamplingParams(max_tokens=8, temperature=0.5, top_p=0.9, min_p=0.1, stop=["\n"], seed=3)
    expected = Sampling(8, temperature=0.5, top_p=0.9, min_p=0.1, stop=("\n",))
    assert to_sampling(asked) == expected


@pytest.mark.parametrize(
    "option",
    [
        {"stop_token_ids": [5]},
        {"include_stop_str_in_output": True, "stop": ["x"]},
        {"skip_special_tokens": False},
        {"allowed_token_ids": [5]},
        {"bad_words": ["no"]},
        {"logprobs": 1},
        {"min_tokens": 2},
    ],
    ids=lambda option: next(iter(option)),
)
def test_what_the_hf_engine_cannot_do_is_refused_by_name(option: dict[str, Any]) -> None:
    with pytest.raises(VLLMValidationError, match=f"{next(iter(option))} is not supported"):
        to_sampling(SamplingParams(**option))


def test_a_server_on_which_requests_could_name_files_does_not_start(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    check_environment()
    monkeypatch.setenv("VLLM_ALLOW_RUNTIME_LORA_UPDATING", "1")
    with pytest.raises(EngineError, match="must not be set"):
        check_environment()
