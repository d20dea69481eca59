"""The door of the server, around an application that says who came in."""

from __future__ import annotations

import asyncio
import json
import re
import threading
from typing import Any
from urllib.parse import unquote

import pytest

from rlpeft.serve.gate import CHANGING, EXPERT_HEADER, MAX_BYTES, MAX_SEQUENCES, Gate, answered

KEY = "a key"
MODELS = ["base", "swap", "auto"]
ASK = "/v1/completions"
RIGHT = {"model": "swap", "prompt": "3714@="}


async def echo(scope: Any, receive: Any, send: Any) -> None:
    """Answers with the body it gets, and says that `swap` wrote the first prompt's answer."""
    body = (await receive())["body"] if scope["method"] == "POST" else b""
    await send({"type": "http.response.start", "status": 200, "headers": []})
    answered.get()["cmpl-1-1"] = "sort"
    answered.get()["cmpl-1-0"] = "swap"
    await send({"type": "http.response.body", "body": body})


class Client:
    def __init__(self, gate: Gate, app: Any = echo) -> None:
        self.app = gate.around(app)

    async def ask(
        self, path: str, body: Any = b"", *, method: str = "POST", key: str | None = KEY
    ) -> tuple[int, dict[bytes, bytes], bytes]:
        body = body if isinstance(body, bytes) else json.dumps(body).encode()
        halves = [body[: len(body) // 2], body[len(body) // 2 :]]
        incoming = [
            {"type": "http.request", "body": half, "more_body": k == 0}
            for k, half in enumerate(halves)
        ]
        sent: list[Any] = []

        async def receive() -> Any:
            return incoming.pop(0)

        async def send(message: Any) -> None:
            sent.append(message)

        headers = [] if key is None else [(b"authorization", f"Bearer {key}".encode())]
        scope = {"type": "http", "method": method, "path": path, "headers": headers}
        await self.app(scope, receive, send)
        return sent[0]["status"], dict(sent[0]["headers"]), sent[1]["body"]

    def __call__(self, *arguments: Any, **options: Any) -> tuple[int, dict[bytes, bytes], bytes]:
        return asyncio.run(self.ask(*arguments, **options))


@pytest.fixture
def client() -> Client:
    return Client(Gate(lambda: MODELS, 280, api_key=KEY))


def error(body: bytes) -> str:
    return str(json.loads(body)["error"]["message"])


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/metrics"), ("GET", "/v1/models"), ("POST", ASK), ("POST", "/tokenize")],
)
@pytest.mark.parametrize("key", [None, "", "a ke", "another"])
def test_nothing_but_health_is_answered_without_the_key(
    client: Client, method: str, path: str, key: str | None
) -> None:
    status, _, body = client(path, RIGHT, method=method, key=key)
    assert status == 401
    assert ("another was sent" if key else "must be sent, as header") in error(body)


def test_health_needs_no_key_and_without_one_everybody_enters(client: Client) -> None:
    assert client("/health", method="GET", key=None)[0] == 200
    assert Client(Gate(lambda: MODELS, 280))(ASK, RIGHT, key=None)[0] == 200


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/invocations"),
        ("POST", "/tokenize"),
        ("GET", "/version"),
        ("POST", "/v1/load_lora_adapter"),
        ("POST", "/v1/responses"),
        ("POST", "/v1/completions/"),
        ("POST", "//v1/completions"),
        ("GET", "/metrics/x"),
        ("DELETE", "/v1/models"),
        ("OPTIONS", ASK),
    ],
)
def test_what_is_not_on_the_list_does_not_exist(client: Client, method: str, path: str) -> None:
    assert client(path, RIGHT, method=method)[0] == 404


def test_names_that_a_header_cannot_hold_or_that_look_like_two_are_encoded(client: Any) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for k, name in enumerate(("a, b", "日", "50%", "a b:c")):
            answered.get()[f"cmpl-1-{k}"] = name
        await send({"type": "http.response.body", "body": b""})

    client.app = Gate(lambda: MODELS, 10, api_key=KEY).around(app)
    _, headers, _ = asyncio.run(client.ask(ASK, RIGHT))
    names = headers[EXPERT_HEADER].decode("ascii").split(", ")
    assert names == ["a%2C b", "%E6%97%A5", "50%25", "a b:c"]
    assert [unquote(name) for name in names] == ["a, b", "日", "50%", "a b:c"]


def test_a_request_arrives_whole_and_its_answer_tells_the_experts(client: Client) -> None:
    status, headers, body = client(ASK, RIGHT)
    assert (status, json.loads(body)) == (200, RIGHT)
    assert headers[EXPERT_HEADER] == b"swap, sort", "in the order of the prompts"


def test_a_wrong_name_is_told_the_right_ones(client: Client) -> None:
    status, _, body = client(ASK, RIGHT | {"model": "poet"})
    assert status == 404
    assert error(body) == "The model `poet` does not exist. There are: base, swap, auto."
    assert json.loads(body)["error"]["type"] == "NotFoundError"
    status, _, body = client("/v1/chat/completions", {"messages": []})
    assert (status, error(body)) == (400, "a request must name its model, one of: " + NAMES)


NAMES = "base, swap, auto."


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"prompt": [5, 280]}, "must be 0 to 279, .* got 280"),
        ({"prompt": [[5], [-1]]}, "got -1"),
        ({"prompt": [[5], []]}, "must not be empty"),
        ({"prompt": []}, "must not be empty"),
        ({"prompt": ["a", ""]}, "must not be empty"),
        ({"n": MAX_SEQUENCES + 1}, f"at most {MAX_SEQUENCES}"),
        ({"n": 16384}, "got 16384 times 1"),
        ({"n": "16384"}, "got 16384 times 1"),
        ({"n": "2", "prompt": ["a"] * MAX_SEQUENCES}, "got 2 times"),
        ({"n": 2.0, "prompt": ["a"] * MAX_SEQUENCES}, "got 2 times"),
        ({"n": 2, "prompt": ["a"] * (MAX_SEQUENCES // 2 + 1)}, "times"),
    ],
)
def test_what_would_fail_or_block_others_is_refused(
    client: Client, change: dict[str, Any], message: str
) -> None:
    status, _, body = client(ASK, RIGHT | change)
    assert status == 400
    assert re.search(message, error(body))


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"{", 400),
        (b"[" * 100_000, 400),
        (b"[]", 400),
        (b"\xff\xfe", 400),
        (b'"' + b"a" * MAX_BYTES + b'"', 413),
    ],
    ids=["cut", "deep", "no object", "no text", "long"],
)
def test_a_body_that_is_no_request_is_refused(client: Client, body: bytes, status: int) -> None:
    assert client(ASK, body)[0] == status


def test_beam_search_is_for_models_that_need_no_choosing(client: Client) -> None:
    beam = RIGHT | {"use_beam_search": True}
    status, _, body = client(ASK, beam | {"model": "auto"})
    assert status == 400
    assert "`auto` would choose again at every token" in error(body)
    assert client(ASK, beam)[0] == client(ASK, RIGHT | {"model": "auto"})[0] == 200


def test_as_many_as_a_batch_holds_are_let_in(client: Client) -> None:
    assert client(ASK, RIGHT | {"n": MAX_SEQUENCES})[0] == 200
    assert client(ASK, RIGHT | {"prompt": ["a"] * MAX_SEQUENCES})[0] == 200


def test_what_is_served_is_changed_behind_the_key_where_the_server_may_load() -> None:
    told: list[tuple[str, bytes]] = []

    async def change(path: str, body: bytes) -> str:
        told.append((path, body))
        return "Success: done."

    client = Client(Gate(lambda: MODELS, 280, api_key=KEY, change=change))
    for path in CHANGING:
        assert client(path, b"{}", key=None)[0] == client(path, b"{}", key="another")[0] == 401
        assert client(path, b"x" * (MAX_BYTES + 1))[0] == 413
        assert not told
        assert client(path, b"{}")[::2] == (200, b"Success: done.")
        assert told.pop() == (path, b"{}")
        assert Client(Gate(lambda: MODELS, 280, api_key=KEY))(path, b"{}")[0] == 404


def test_who_is_inside_at_the_end_is_answered_and_nobody_comes_after() -> None:
    gate = Gate(lambda: MODELS, 280)
    entered = threading.Event()

    async def slow(scope: Any, receive: Any, send: Any) -> None:
        entered.set()
        while not gate._is_closing:
            await asyncio.sleep(0.001)
        await echo(scope, receive, send)

    async def both() -> tuple[int, int]:
        client = Client(gate, slow)
        inside = asyncio.create_task(client.ask(ASK, RIGHT))
        while not entered.is_set():
            await asyncio.sleep(0.001)
        draining = asyncio.get_running_loop().run_in_executor(None, gate.drain, 30.0)
        status = (await inside)[0]
        await draining
        return status, (await client.ask(ASK, RIGHT))[0]

    assert asyncio.run(both()) == (200, 503)
