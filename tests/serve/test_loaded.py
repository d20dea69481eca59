"""Versions of experts, on an engine that only remembers what it holds."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping
from typing import Any

import pytest

pytest.importorskip("vllm")

from rlpeft.errors import EngineError, ExpertError
from rlpeft.experts.files import ExpertCard
from rlpeft.serve.loaded import MOST_EXPERTS, Version

pytestmark = pytest.mark.vllm


class Asking:
    """A first pass that asks the expert called `classifier`."""

    asked = "classifier"

    def ask(self, prompt_ids: Any) -> list[int]:
        return list(prompt_ids)

    def read(self, answer: str) -> tuple[str | None, str]:
        return answer, "it said so"


def choose(cards: Mapping[str, ExpertCard]) -> Asking | None:
    if cards and "classifier" not in cards:
        raise ExpertError("`auto` needs a classifier.")
    return Asking() if cards else None


async def settle() -> None:
    for _ in range(4):
        await asyncio.sleep(0)


def run(use: Coroutine[Any, Any, None]) -> None:
    asyncio.run(use)


def test_every_load_of_a_name_is_another_version_to_the_engine_even_of_the_same_numbers(
    make: Any, expert: Any
) -> None:
    async def use() -> None:
        loaded, holder = make()
        names = set()
        for _ in range(3):
            await loaded.load({"a": expert()})
            names.add(loaded.versions["a"].request.lora_name)
            names.add(str(loaded.versions["a"].request.lora_int_id))
        await settle()
        assert len(names) == 6
        assert list(holder.held) == [loaded.versions["a"].request.lora_name]

    run(use())


def test_who_asks_a_version_keeps_it_until_the_last_has_its_answer(make: Any, expert: Any) -> None:
    async def use() -> None:
        loaded, holder = make()
        await loaded.load({"a": expert(1)})
        old: Version = loaded.versions["a"]
        with loaded.using(old), loaded.using(old):
            await loaded.load({"a": expert(2)})
            with loaded.using(loaded.versions["a"]):
                loaded.unload("a")
                await settle()
                assert len(holder.held) == 2
                assert loaded.models == ["base"]
            await settle()
            assert list(holder.held) == [old.request.lora_name]
        await settle()
        assert not holder.held

    run(use())


@pytest.mark.parametrize("origin", ["refused", "garbled"])
def test_a_load_that_fails_changes_nothing(make: Any, expert: Any, origin: str) -> None:
    async def use() -> None:
        loaded, holder = make()
        await loaded.load({"a": expert(1)})
        before = loaded.versions["a"]
        with pytest.raises(EngineError):
            await loaded.load({"b": expert(2), "a": expert(3, origin)})
        await settle()
        assert loaded.versions == {"a": before}
        assert list(holder.held) == [before.request.lora_name]

    run(use())


def test_what_auto_cannot_do_without_stays(make: Any, expert: Any) -> None:
    async def use() -> None:
        loaded, holder = make(choose)
        await loaded.load({"classifier": expert(1), "a": expert(2)})
        assert loaded.models == ["base", "classifier", "a", "auto"]
        with pytest.raises(ExpertError, match="needs a classifier"):
            loaded.unload("classifier")
        assert loaded.models == ["base", "classifier", "a", "auto"]
        loaded.unload("a")
        await settle()
        assert loaded.models == ["base", "classifier", "auto"]
        assert len(holder.held) == 1

    run(use())


def test_a_thousand_loads_and_removals_leave_nothing_behind(make: Any, expert: Any) -> None:
    async def use() -> None:
        loaded, holder = make()
        for k in range(1000):
            await loaded.load({f"a{k % 7}": expert(k)})
            if k % 3 == 0:
                loaded.unload(f"a{k % 7}")
        await settle()
        assert len(holder.held) == len(loaded.versions) == len(loaded.requests)
        for name in list(loaded.versions):
            loaded.unload(name)
        await settle()
        assert not holder.held
        assert not loaded.requests
        assert list(loaded.stops) == ["base"]
        assert not loaded._going

    run(use())


def test_a_server_holds_so_many_experts_at_most(make: Any, expert: Any) -> None:
    async def use() -> None:
        loaded, _ = make()
        with pytest.raises(ExpertError, match="at most 1024 experts"):
            await loaded.load({f"a{k}": expert() for k in range(MOST_EXPERTS + 1)})

    run(use())
