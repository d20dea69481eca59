"""The experts of a running server: which there are, in which version, and who still asks for one.

Every load is a version with a number of its own, under which the engine holds it and keeps its
cached prefixes apart: what was computed by one version can never answer for the next, whatever the
two have in common. A version that was replaced or removed goes when its last request has ended.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Protocol

from vllm.lora.request import LoRARequest

from rlpeft.adapter_state import AdapterState
from rlpeft.errors import EngineError, ExpertError
from rlpeft.experts.files import ExpertCard
from rlpeft.serve.gate import AUTO, BASE
from rlpeft.serve.metrics import forget

MOST_EXPERTS = 1024
"""That a server holds at once."""


@dataclass(frozen=True)
class ServedExpert:
    """An expert as a server takes it.

    Attributes:
        stop: strings that end its answers, where a request gives none.
        origin: the folder or id it came from, which `/v1/models` shows.
    """

    state: AdapterState
    card: ExpertCard
    stop: tuple[str, ...]
    origin: str


@dataclass(eq=False)
class Version:
    """One version of an expert, as the engine holds it.

    Attributes:
        request: by which the engine is asked for it.
        users: requests that it answers now.
        is_gone: nobody new may ask it.
    """

    name: str
    expert: ServedExpert
    request: LoRARequest
    users: int = 0
    is_gone: bool = False


class FirstPass(Protocol):
    """How `auto` chooses.

    Attributes:
        asked: expert that is asked; `None` for the base model.
    """

    @property
    def asked(self) -> str | None: ...

    def ask(self, prompt_ids: Sequence[int]) -> list[int]:
        """Token ids of the question about a prompt."""
        ...

    def read(self, answer: str) -> tuple[str | None, str]:
        """The expert that an answer means, `None` for the base model; and why."""
        ...


MakeFirstPass = Callable[[Mapping[str, ExpertCard]], FirstPass | None]
"""Cards of all experts to how `auto` chooses among them; raises `ExpertError` where it cannot."""


class Holder(Protocol):
    """An engine, as far as experts come and go."""

    async def hold(self, request: LoRARequest, expert: ServedExpert) -> str:
        """Be ready to run an expert; the digest of what is held. Raises `EngineError`."""
        ...

    async def drop(self, request: LoRARequest) -> None:
        """Forget one that nobody asks any more."""
        ...


class Loaded:
    """The experts by name; one caller at a time changes them.

    Args:
        folder: of the empty LoRA that stands for each of them in vLLM.
        make_first_pass: made anew for every change; `None` where there is no `auto`.

    Attributes:
        requests: name -> what vLLM's list of models shows; `auto` is one of them.
        stops: model -> strings that end its answers.
    """

    def __init__(
        self,
        engine: Holder,
        folder: Path,
        make_first_pass: MakeFirstPass,
        stops: Mapping[str, Sequence[str]],
    ) -> None:
        self._engine, self._folder, self._make = engine, str(folder), make_first_pass
        self._numbers = count(1)
        self._going: set[asyncio.Task[None]] = set()
        self.versions: dict[str, Version] = {}
        self.requests: dict[str, LoRARequest] = {}
        self.stops: dict[str, Sequence[str]] = dict(stops)
        self.first_pass: FirstPass | None = None

    @property
    def models(self) -> list[str]:
        """Names that requests may give."""
        return [BASE, *self.requests]

    async def load(self, experts: Mapping[str, ServedExpert]) -> None:
        """Take experts in, each in the place of one of its name, all or none.

        Raises:
            ExpertError, EngineError: what is asked for does not go; nothing has changed.
        """
        kept = {name: v.expert for name, v in self.versions.items()} | dict(experts)
        if len(kept) > MOST_EXPERTS:
            raise ExpertError(
                f"a server holds at most {MOST_EXPERTS} experts, these would be {len(kept)}. "
                "Unload some."
            )
        first_pass = self._make({name: expert.card for name, expert in kept.items()})
        fresh: list[Version] = []
        try:
            for name, expert in experts.items():
                fresh.append(await self._hold(name, expert))
        except BaseException:
            for version in fresh:
                self._retire(version)
            raise
        for version in fresh:
            if (old := self.versions.get(version.name)) is not None:
                self._retire(old)
            self._enter(version)
        self._choose_by(first_pass)

    def unload(self, name: str) -> None:
        """Let nobody ask an expert any more; who does so already is answered.

        Raises:
            ExpertError: `auto` cannot do without it.
        """
        kept = {n: version.expert.card for n, version in self.versions.items() if n != name}
        first_pass = self._make(kept)
        self._retire(self.versions.pop(name))
        del self.requests[name], self.stops[name]
        self._choose_by(first_pass)

    @contextmanager
    def using(self, version: Version | None) -> Iterator[None]:
        """Keep a version, `None` for the base, while a request is answered by it."""
        if version is None:
            yield
            return
        version.users += 1
        try:
            yield
        finally:
            version.users -= 1
            self._drop_if_unused(version)

    async def _hold(self, name: str, expert: ServedExpert) -> Version:
        number = next(self._numbers)
        request = LoRARequest(f"{name}@{number}", number, self._folder)
        version = Version(name, expert, request)
        digest = await self._engine.hold(request, expert)
        if digest != expert.state.digest:
            self._retire(version)
            raise EngineError(f"the engine must hold expert {name!r} as sent, its digest differs.")
        return version

    def _enter(self, version: Version) -> None:
        name, expert = version.name, version.expert
        self.versions[name], self.stops[name] = version, expert.stop
        self.requests[name] = LoRARequest(name, version.request.lora_int_id, expert.origin)

    def _choose_by(self, first_pass: FirstPass | None) -> None:
        self.first_pass = first_pass
        self.requests.pop(AUTO, None)
        if first_pass is not None:  # last in every list
            self.requests[AUTO] = LoRARequest(AUTO, next(self._numbers), self._folder)

    def _retire(self, version: Version) -> None:
        version.is_gone = True
        self._drop_if_unused(version)

    def _drop_if_unused(self, version: Version) -> None:
        if version.is_gone and not version.users:
            going = asyncio.ensure_future(self._engine.drop(version.request))
            self._going.add(going)  # or nobody would hold it
            going.add_done_callback(self._going.discard)
            if version.name not in self.versions:
                forget(version.name)
