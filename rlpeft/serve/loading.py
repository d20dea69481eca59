"""Experts that come and go while a server runs, by vLLM's own routes and bodies.

vLLM would open any path that a request names, keep a name's cached prefixes when it is replaced,
and run pickled code. Here the reader that the server was given says what may be read, and
`rlpeft.serve.loaded` keeps versions apart.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

from pydantic import BaseModel, TypeAdapter, ValidationError
from vllm.entrypoints.serve.lora.protocol import (
    LoadLoRAAdapterRequest,
    UnloadLoRAAdapterRequest,
)
from vllm.logger import init_logger

from rlpeft.errors import RlpeftError
from rlpeft.recipe.run import Name
from rlpeft.serve.gate import LOAD, Refused
from rlpeft.serve.loaded import Loaded, ServedExpert

Read = Callable[[str, str], ServedExpert]
"""(name, path or id) -> the expert; takes its time, and raises `RlpeftError`."""

Body = TypeVar("Body", bound=BaseModel)

logger = init_logger("vllm.rlpeft.loading")


class Loading:
    """What is done for the two routes; one at a time, while answers go on."""

    def __init__(self, loaded: Loaded, read: Read) -> None:
        self.loaded, self.read = loaded, read
        self._turn = asyncio.Lock()

    async def change(self, path: str, body: bytes) -> str:
        """What one of `rlpeft.serve.gate.CHANGING` answers.

        Raises:
            Refused: nothing has changed.
        """
        async with self._turn:
            try:
                said = await self._load(body) if path == LOAD else self._unload(body)
            except RlpeftError as error:
                raise _refused(400, str(error)) from error
        logger.info("%s", said)
        return said

    async def _load(self, body: bytes) -> str:
        asked = _read(LoadLoRAAdapterRequest, body)
        name, there = asked.lora_name, asked.lora_name in self.loaded.versions
        if there and not asked.load_inplace:
            raise _refused(
                400,
                f"the expert {name!r} is loaded already. Set load_inplace to true to replace it.",
            )
        expert = await asyncio.to_thread(self.read, name, asked.lora_path)
        await self.loaded.load({name: expert})
        return f"Success: expert {name!r} {'replaced' if there else 'added'}."

    def _unload(self, body: bytes) -> str:
        name = _read(UnloadLoRAAdapterRequest, body).lora_name
        if name not in self.loaded.versions:
            known = ", ".join(self.loaded.versions) or "none"
            raise _refused(404, f"the expert {name!r} is not loaded. There are: {known}.")
        self.loaded.unload(name)
        return f"Success: expert {name!r} removed; who asks it already is answered."


def _read(kind: type[Body], body: bytes) -> Body:
    try:
        asked = kind.model_validate_json(body)
        TypeAdapter(Name).validate_python(asked.lora_name)  # type: ignore[attr-defined]
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "lora_name"
        raise _refused(400, f"{where}: {first['msg']}") from error
    return asked


def _refused(status: int, message: str) -> Refused:
    kind = "NotFoundError" if status == 404 else "InvalidUserInput"
    return Refused(status, kind, message)
