"""Standard modules that look at the type of what they get, taught to take mirrors."""

from __future__ import annotations

import dataclasses
import unittest
from typing import Any

from rewards.code.bridge import mirror
from rewards.code.loop import install


def teach(code: str, bridge: Any) -> None:
    """Teach the modules that a test program names."""
    if "asyncio" in code:
        _teach_asyncio(install())
    if "dataclasses" in code:
        _teach_dataclasses(bridge)
    if "unittest" in code:
        unittest.main = lambda *_, **__: None  # type: ignore[assignment]  # they are collected


def _teach_asyncio(asyncio: Any) -> None:
    """Let asyncio's entry points take coroutines of the program, which are no coroutines here."""

    def wrapped(function: Any) -> Any:
        async def awaited(thing: Any) -> Any:
            return await thing

        def call(coroutine: Any, *arguments: Any, **options: Any) -> Any:
            if mirror.handle_of(coroutine) is not None:
                coroutine = awaited(coroutine)
            return function(coroutine, *arguments, **options)

        return call

    for name in ("run", "create_task", "run_coroutine_threadsafe"):
        setattr(asyncio, name, wrapped(getattr(asyncio, name)))
    base = asyncio.base_events.BaseEventLoop
    create = base.create_task
    base.create_task = lambda loop, coroutine, **options: wrapped(
        lambda one, **more: create(loop, one, **more)
    )(coroutine, **options)


def _teach_dataclasses(bridge: Any) -> None:
    def wrapped(name: str, function: Any) -> Any:
        def call(thing: Any, **options: Any) -> Any:
            if mirror.handle_of(thing) is None:
                return function(thing, **options)
            return bridge.request("dataclass", name, thing, tuple(options.items()))

        return call

    for name in ("asdict", "astuple", "replace", "fields"):
        setattr(dataclasses, name, wrapped(name, getattr(dataclasses, name)))
