"""The door of the server: by which routes, with which key, and for how much at once one enters.

vLLM guards some of its routes and answers on many more. Here a short list is open, everything
else does not exist, and what would fail, or block, other clients is refused before it is queued.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Awaitable, Callable, Mapping, MutableMapping, Sequence
from contextvars import ContextVar
from hmac import compare_digest
from typing import Any
from urllib.parse import quote

from rlpeft.errors import EngineError
from rlpeft.rollout.engine import check_tokens

BASE = "base"
"""Name of the model without an expert."""

AUTO = "auto"
"""Name of the model that chooses an expert for each request."""

ASKING = ("/v1/completions", "/v1/chat/completions")
ROUTES = frozenset(
    {("GET", "/health"), ("GET", "/metrics"), ("GET", "/v1/models")}
    | {("POST", path) for path in ASKING}
)
"""What every server answers."""

LOAD, UNLOAD = CHANGING = ("/v1/load_lora_adapter", "/v1/unload_lora_adapter")
"""vLLM's names for what loads and removes an expert; open where the server was told from where."""

WITHOUT_KEY = "/health"

MAX_SEQUENCES = 128
"""Completions that one request may ask for, all its prompts together: vLLM's batch on a CPU."""

MAX_BYTES = 8 << 20
"""Of a request's body."""

EXPERT_HEADER = b"x-rlpeft-expert"
"""Tells which model answered, which `auto` chooses: names with commas between them."""

PLAIN = " !\"#$&'()*+/:;<=>?@[\\]^`{|}"
"""Of a name in a header, as it is; commas, % and what is not ASCII are percent-encoded UTF-8."""

answered: ContextVar[dict[str, str]] = ContextVar("answered")
"""Of the HTTP request that is being answered: id of each engine request -> who answers it."""

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]


class Refused(Exception):
    """An answer in OpenAI's form that is an error."""

    def __init__(self, status: int, kind: str, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        error = {"message": message, "type": kind, "param": param, "code": status}
        self.body = json.dumps({"error": error}).encode()


class Gate:
    """Around the server's application; see `around`.

    Args:
        models: names that requests may give, at any time.
        vocabulary: how many token ids the model embeds.
        api_key: what clients must send; without one everybody enters.
        change: (one of `CHANGING`, body) -> what it answers; without it those do not exist.
    """

    def __init__(
        self,
        models: Callable[[], Sequence[str]],
        vocabulary: int,
        *,
        api_key: str | None = None,
        change: Callable[[str, bytes], Awaitable[str]] | None = None,
    ) -> None:
        self._change = change
        self._routes = ROUTES | {("POST", path) for path in (CHANGING if change else ())}
        self.models, self.vocabulary, self.api_key = models, vocabulary, api_key
        self._inside, self._is_closing = 0, False
        self._empty = threading.Event()
        self._empty.set()

    def around(self, app: App) -> App:
        """The application behind this gate."""

        async def guarded(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] == "lifespan":
                await app(scope, receive, send)
            elif scope["type"] == "http":
                await self._http(app, scope, receive, send)
            else:
                await send({"type": "websocket.close", "code": 1008})

        return guarded

    def drain(self, timeout_s: float) -> None:
        """Let nobody in any more and wait, in a thread of the caller's, until all have left."""
        self._is_closing = True
        self._empty.wait(timeout_s)

    async def _http(self, app: App, scope: Scope, receive: Receive, send: Send) -> None:
        self._inside += 1
        self._empty.clear()
        token = answered.set({})
        try:
            self._check_entry(scope)
            if scope["path"] in ASKING:
                body = await read_body(receive)
                self.check_request(scope["path"], body)
                receive = _replay(body, receive)
            elif scope["path"] in CHANGING and self._change is not None:
                said = await self._change(scope["path"], await read_body(receive))
                await _say(send, 200, b"text/plain; charset=utf-8", said.encode())
                return
            await app(scope, receive, _with_expert(send, answered.get()))
        except Refused as refused:
            await _say(send, refused.status, b"application/json", refused.body)
        finally:
            answered.reset(token)
            self._inside -= 1
            if not self._inside:
                self._empty.set()

    def _check_entry(self, scope: Scope) -> None:
        path = scope["path"]
        if path != WITHOUT_KEY:
            self._check_key(dict(scope["headers"]).get(b"authorization", b""))
        if (scope["method"], path) not in self._routes:
            known = ", ".join(sorted(f"{method} {path}" for method, path in self._routes))
            raise Refused(404, "NotFoundError", f"this server answers {known} alone.")
        if path in (*ASKING, *CHANGING) and self._is_closing:
            raise Refused(503, "ServiceUnavailableError", "this server is shutting down.")

    def _check_key(self, sent: bytes) -> None:
        if self.api_key is None:
            return
        scheme, _, key = sent.partition(b" ")
        if scheme.lower() != b"bearer" or not key:
            said = "the key of this server must be sent, as header Authorization: Bearer KEY."
            raise Refused(401, "AuthenticationError", said)
        if not compare_digest(key, self.api_key.encode()):
            said = "the key must be that of this server, another was sent."
            raise Refused(401, "AuthenticationError", said)

    def check_request(self, path: str, body: bytes) -> None:
        """Refuse what the engine cannot do, or what would keep it from all others.

        Raises:
            Refused: says what must hold. Anything else that is wrong, vLLM says.
        """
        try:
            tree = json.loads(body)
        except (ValueError, RecursionError) as error:
            raise Refused(400, "BadRequestError", "the body must be JSON.") from error
        if not isinstance(tree, dict):
            raise Refused(400, "BadRequestError", "the body must be a JSON object.")
        self._check_model(tree)
        prompts = _prompts(tree.get("prompt")) if path == "/v1/completions" else [None]
        for prompt in prompts:
            self._check_prompt(prompt)
        number = _whole(tree.get("n"))
        if len(prompts) * number > MAX_SEQUENCES:
            raise _bad(
                f"n times the number of prompts must be at most {MAX_SEQUENCES}, got {number} "
                f"times {len(prompts)}. Send several requests.",
                "n",
            )

    def _check_model(self, tree: Mapping[str, Any]) -> None:
        model, models = tree.get("model"), self.models()
        known = ", ".join(models)
        if not model:
            raise _bad(f"a request must name its model, one of: {known}.", "model")
        if model not in models:
            message = f"The model `{model}` does not exist. There are: {known}."
            raise Refused(404, "NotFoundError", message, "model")
        if model == AUTO and tree.get("use_beam_search"):
            raise _bad(
                f"beam search must name a model: `{AUTO}` would choose again at every token.",
                "use_beam_search",
            )

    def _check_prompt(self, prompt: Any) -> None:
        if prompt == "" or prompt == []:
            raise _bad("a prompt must not be empty.", "prompt")
        if isinstance(prompt, list) and all(isinstance(token, int) for token in prompt):
            try:
                check_tokens(prompt, self.vocabulary, of="a prompt")
            except EngineError as error:
                raise _bad(str(error), "prompt") from error


def _bad(message: str, param: str) -> Refused:
    return Refused(400, "BadRequestError", message, param)


def _whole(found: Any) -> int:
    """A number of completions as vLLM reads it, out of text and 3.0 too; 1 if it is none."""
    try:
        return int(found) if isinstance(found, int | float | str) else 1
    except (ValueError, OverflowError):
        return 1


def _prompts(found: Any) -> list[Any]:
    """The prompts of a completion request: a text, token ids, or a list of either."""
    if isinstance(found, list) and found and not isinstance(found[0], int):
        return found
    return [found]


async def read_body(receive: Receive) -> bytes:
    """The whole body.

    Raises:
        Refused: it is too long, or its client has left.
    """
    body, more = bytearray(), True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Refused(400, "BadRequestError", "the request must be sent to its end.")
        body += message.get("body", b"")
        more = message.get("more_body", False)
        if len(body) > MAX_BYTES:
            raise Refused(413, "BadRequestError", f"the body must have at most {MAX_BYTES} bytes.")
    return bytes(body)


def _replay(body: bytes, receive: Receive) -> Receive:
    waiting: list[MutableMapping[str, Any]] = [
        {"type": "http.request", "body": body, "more_body": False}
    ]

    async def replayed() -> MutableMapping[str, Any]:
        return waiting.pop() if waiting else await receive()

    return replayed


def _with_expert(send: Send, experts: Mapping[str, str]) -> Send:
    """Hold the head of an answer back until its first part: only then the expert is chosen."""
    held: list[MutableMapping[str, Any]] = []

    async def sending(message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            held.append(message)
            return
        if held:
            start = held.pop()
            if experts:
                names = ", ".join(quote(name, PLAIN) for name in _in_order(experts))
                start["headers"] = [*start.get("headers", ()), (EXPERT_HEADER, names.encode())]
            await send(start)
        await send(message)

    return sending


def _in_order(experts: Mapping[str, str]) -> list[str]:
    """One name for each prompt of a request; vLLM numbers them at the end of the request's id."""

    def number(request_id: str) -> int:
        found = re.search(r"-(\d+)$", request_id)
        return int(found[1]) if found else 0

    names = [experts[request_id] for request_id in sorted(experts, key=number)]
    return names[:1] if len(set(names)) == 1 else names


async def _say(send: Send, status: int, kind: bytes, body: bytes) -> None:
    headers = [(b"content-type", kind)]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
