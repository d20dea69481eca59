"""Experts without numbers of any model, and an engine that only remembers what it holds."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
import torch

from rlpeft.adapter_state import AdapterState
from rlpeft.errors import EngineError


class Holder:
    """Holds what it is given, but for experts whose origin says that they are broken."""

    def __init__(self) -> None:
        self.held: dict[str, Any] = {}

    async def hold(self, request: Any, expert: Any) -> str:
        await asyncio.sleep(0)
        if expert.origin == "refused":
            raise EngineError("no such module.")
        self.held[request.lora_name] = expert
        return "another" if expert.origin == "garbled" else expert.state.digest

    async def drop(self, request: Any) -> None:
        await asyncio.sleep(0)
        self.held.pop(request.lora_name, None)


@pytest.fixture
def expert() -> Any:
    """A maker of experts whose numbers are all the same."""
    from rlpeft.experts.files import ExpertCard
    from rlpeft.serve.loaded import ServedExpert

    def make(number: float = 0.0, origin: str = "here") -> Any:
        card = ExpertCard(
            name="x",
            base_model="tiny",
            base_digest="b" * 64,
            adapter={"type": "svf"},
            task={"name": "tiny/swap"},
            rewards=("exact",),
            seed=0,
            step=0,
            digest="d",
        )
        state = AdapterState({"peft_type": "SVF"}, {"q.svf_z": torch.full((2,), number)}, 0)
        return ServedExpert(state, card, ("\n",), origin)

    return make


@pytest.fixture
def make() -> Any:
    """A maker of what is loaded, and of the engine that holds it."""
    from rlpeft.serve.loaded import Loaded

    def make(make_first_pass: Any = lambda cards: None) -> Any:
        holder = Holder()
        return Loaded(holder, Path("lora"), make_first_pass, {"base": ()}), holder

    return make
