"""The process that holds the program under test and answers the judge's calls.

Hostile from its first line on. It runs confined; whatever it does to itself, the tests are not
here, and nothing it sends is more than a plain value.
"""

from __future__ import annotations

import random
import types
from typing import Any

from rewards.code.wire import Channel, decode, encode


def serve(channel: Channel, source: str) -> None:
    """Execute `source`, then answer requests until the judge hangs up."""
    random.seed(0)
    # Not "__main__": the part of a script that waits for input is not under test.
    namespace: dict[str, Any] = {"__name__": "solution"}
    try:
        exec(compile(source, "solution.py", "exec"), namespace)
    except BaseException as error:
        channel.send(_failure(error))
        return
    objects: list[Any] = []
    channel.send({"value": None})
    while True:
        channel.send(_answer(channel.receive(), namespace, objects))


def _answer(request: Any, namespace: dict[str, Any], objects: list[Any]) -> Any:
    def handle(value: Any) -> int:
        objects.append(value)
        return len(objects) - 1

    try:
        operation, target, *rest = request
        if operation == "name":
            return _named(target, namespace, handle)
        arguments = [decode(item, objects.__getitem__) for item in rest]
        result = _perform(operation, objects[target], arguments)
        return {"value": encode(result, handle)}
    except BaseException as error:
        return _failure(error)


def _named(name: str, namespace: dict[str, Any], handle: Any) -> Any:
    if name not in namespace:
        return {"missing": name}
    value = namespace[name]
    if isinstance(value, types.ModuleType):
        return {"module": value.__name__}
    return {"value": encode(value, handle)}


def _perform(operation: str, target: Any, arguments: list[Any]) -> Any:
    match operation:
        case "call":
            return target(*arguments[0], **arguments[1])
        case "get":
            return getattr(target, *arguments)
        case "set":
            return setattr(target, *arguments)
        case "item":
            return target[arguments[0]]
        case "list":
            return list(target)
        case "len":
            return len(target)
        case "str":
            return str(target)
    raise ValueError(f"no operation {operation!r}")


def _failure(error: BaseException) -> Any:
    try:
        message = str(error)[:300]
    except BaseException:
        message = ""
    return {"raised": type(error).__name__, "message": message}
