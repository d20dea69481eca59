"""Bodies of the two routes that change what is served."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

import pytest

pytest.importorskip("vllm")

from rlpeft.errors import ExpertError
from rlpeft.serve.gate import LOAD, UNLOAD, Refused
from rlpeft.serve.loaded import Loaded
from rlpeft.serve.loading import Loading

pytestmark = pytest.mark.vllm


@pytest.fixture
def read(expert: Any) -> Any:
    def read(name: str, path: str) -> Any:
        if path == "slow":
            time.sleep(0.05)
        if path == "../etc":
            raise ExpertError("an expert must be named by its folder.")
        return expert(origin=path)

    return read


@pytest.fixture
def loaded(make: Any) -> Loaded:
    found: Loaded = make()[0]
    return found


def change(loading: Loading, route: str, **body: Any) -> str:
    return asyncio.run(loading.change(route, json.dumps(body).encode()))


def test_an_expert_is_added_replaced_and_removed(loaded: Loaded, read: Any) -> None:
    async def use() -> list[str]:
        loading = Loading(loaded, read)

        async def say(route: str, **body: Any) -> str:
            return await loading.change(route, json.dumps(body).encode())

        return [
            await say(LOAD, lora_name="a", lora_path="one"),
            await say(LOAD, lora_name="a", lora_path="two", load_inplace=True),
            loaded.requests["a"].lora_path,
            await say(UNLOAD, lora_name="a"),
        ]

    assert asyncio.run(use()) == [
        "Success: expert 'a' added.",
        "Success: expert 'a' replaced.",
        "two",
        "Success: expert 'a' removed; who asks it already is answered.",
    ]
    assert loaded.models == ["base"]


def test_of_two_loads_of_one_name_at_once_one_is_told_that_it_came_second(
    loaded: Loaded, read: Any
) -> None:
    async def use() -> list[Any]:
        loading, body = Loading(loaded, read), b'{"lora_name": "a", "lora_path": "slow"}'
        both = (loading.change(LOAD, body), loading.change(LOAD, body))
        return await asyncio.gather(*both, return_exceptions=True)

    first, second = asyncio.run(use())
    assert first == "Success: expert 'a' added."
    assert isinstance(second, Refused)
    assert "Set load_inplace to true" in str(second)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"lora_path": "one"}, "lora_name: Field required"),
        ({"lora_name": "a"}, "lora_path: Field required"),
        ({"lora_name": 3, "lora_path": "one"}, "lora_name: "),
        ({"lora_name": "a/b", "lora_path": "one"}, "hold no slash"),
        ({"lora_name": "a\nb", "lora_path": "one"}, "must be printable"),
        ({"lora_name": "", "lora_path": "one"}, "must be printable"),
        ({"lora_name": "a" * 5000, "lora_path": "one"}, "at most"),
        ({"lora_name": "a", "lora_path": "../etc"}, "must be named by its folder"),
        ({"lora_name": "a", "lora_path": "refused"}, "no such module"),
    ],
)
def test_a_body_that_cannot_be_done_is_one_line(
    loaded: Loaded, read: Any, body: dict[str, Any], said: str
) -> None:
    with pytest.raises(Refused) as error:
        change(Loading(loaded, read), LOAD, **body)
    assert error.value.status == 400
    assert said in str(error.value)
    assert "\n" not in str(error.value)
    assert loaded.models == ["base"]


@pytest.mark.parametrize("body", [b"", b"[", b"null", b"[" * 100_000])
def test_what_is_no_object_is_refused(loaded: Loaded, read: Any, body: bytes) -> None:
    with pytest.raises(Refused):
        asyncio.run(Loading(loaded, read).change(LOAD, body))


def test_who_is_not_there_cannot_be_removed(loaded: Loaded, read: Any) -> None:
    with pytest.raises(Refused, match="'a' is not loaded") as error:
        change(Loading(loaded, read), UNLOAD, lora_name="a")
    assert error.value.status == 404
