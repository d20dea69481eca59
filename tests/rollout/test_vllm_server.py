"""What the server refuses before any engine is asked."""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("vllm")

from vllm import AsyncEngineArgs
from vllm.entrypoints.launchers.app import build_app
from vllm.entrypoints.launchers.cli_args import make_arg_parser
from vllm.exceptions import VLLMValidationError
from vllm.sampling_params import SamplingParams
from vllm.utils.argparse_utils import FlexibleArgumentParser

from rlpeft.errors import EngineError
from rlpeft.models import resolve_model
from rlpeft.rollout.vllm_plugin.gate import ROUTES
from rlpeft.rollout.vllm_plugin.hf_client import to_sampling
from rlpeft.rollout.vllm_plugin.server import check_environment, close_routes
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


CLOSED = {
    "/load",
    "/version",
    "/kv_event_sources",
    "/tokenize",
    "/detokenize",
    "/v1/systemone",
    "/ping",
    "/invocations",
    "/v1/chat/completions/batch",
    "/v1/responses",
    "/v1/responses/{response_id}",
    "/v1/responses/{response_id}/cancel",
    "/v1/messages",
    "/v1/messages/count_tokens",
    "/generative_scoring",
    "/scale_elastic_ep",
    "/is_scaling_elastic_ep",
    "/v1/chat/completions/render",
    "/v1/messages/render",
    "/v1/completions/render",
    "/v1/responses/render",
    "/v1/chat/completions/derender",
    "/v1/completions/derender",
    "/inference/v1/generate",
    "/inference/v1/abort_requests",
}
"""What vLLM 0.32 serves and we do not."""


def test_the_routes_of_the_installed_vllm_are_those_that_somebody_has_judged() -> None:
    """A new version's route fails here, until it is put on one of the two lists."""
    path = str(resolve_model("tiny"))
    args = make_arg_parser(FlexibleArgumentParser()).parse_args(["--disable-fastapi-docs"])
    config = AsyncEngineArgs(model=path, dtype="float32").create_engine_config()
    app = build_app(args, ("generate",), config.model_config)
    opened = {path for _, path in ROUTES}
    assert {route.path for route in app.routes} == opened | CLOSED
    close_routes(app)
    assert {route.path for route in app.routes} == opened
