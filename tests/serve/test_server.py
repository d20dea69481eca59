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
from rlpeft.models.folder import resolve_model
from rlpeft.models.tokenizer import load_tokenizer
from rlpeft.serve.ends import Ends, ended
from rlpeft.serve.gate import ROUTES
from rlpeft.serve.hf_client import to_sampling
from rlpeft.serve.server import check_environment, close_routes
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


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return load_tokenizer(resolve_model("tiny"))


def test_a_request_ends_at_every_end_of_sequence_and_at_special_tokens_as_ids(
    tokenizer: Any,
) -> None:
    eos, bos = tokenizer.eos_token, tokenizer.convert_ids_to_tokens(tokenizer.all_special_ids[0])
    asked = SamplingParams(stop=["\n", bos], stop_token_ids=[9], max_tokens=8)
    found = ended(asked, tokenizer, {7, 8})
    assert found.stop == ["\n"]
    assert found.stop_token_ids == sorted({7, 8, 9, tokenizer.all_special_ids[0]})
    assert found.all_stop_token_ids >= {7, 8, 9}
    assert (asked.stop, asked.stop_token_ids) == (["\n", bos], [9])
    endless = ended(SamplingParams(ignore_eos=True, stop=[eos]), tokenizer, {7, 8})
    assert endless.stop_token_ids == [tokenizer.eos_token_id]


def test_a_stop_string_that_no_answer_can_show_is_refused(tokenizer: Any) -> None:
    with pytest.raises(VLLMValidationError, match="must be a special token or hold none"):
        ended(SamplingParams(stop=[f"{tokenizer.eos_token}x"]), tokenizer, ())
    shown = SamplingParams(stop=[f"{tokenizer.eos_token}x"], skip_special_tokens=False)
    assert ended(shown, tokenizer, ()).stop == [f"{tokenizer.eos_token}x"]


def test_the_strings_of_a_model_end_requests_that_give_none() -> None:
    ends = Ends({"base": (), "swap": ("\n",)})
    asked = SamplingParams(max_tokens=8)
    assert ends.of("swap", asked).stop == ["\n"]
    assert ends.of(None, asked).stop == asked.stop == []
    assert ends.of("swap", SamplingParams(stop=["x"])).stop == ["x"]
