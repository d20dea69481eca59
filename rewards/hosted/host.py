"""The child of `rewards.hosted.process`: holds a run's own rewards and scores batch after batch.

    python -P -m rewards.hosted.host REPLIES

Requests come as JSON lines on standard input, replies go as JSON lines to the descriptor REPLIES;
what a reward prints goes to standard output and error, which the parent keeps apart. The process
lives as long as the run: modules, caches, models, connections and the event loop of async rewards
stay what they are between batches. Rewards run in the main thread; a second one reads requests, and
ends the process group when the parent is gone, whatever the main thread is at.
"""

from __future__ import annotations

import asyncio
import contextlib
import faulthandler
import inspect
import json
import os
import queue
import signal
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import asdict
from multiprocessing.reduction import ForkingPickler
from types import SimpleNamespace
from typing import Any, BinaryIO, NoReturn

from rewards.blame import message_of, one_line
from rewards.dialects import Log, Rollouts
from rewards.errors import RewardError
from rewards.hosted.wire import packed, unpacked
from rewards.plugins import Reward, load
from rewards.verdict import Verdict

GRACE_S = 2.0
"""How long a process whose parent closed the pipe may take to end by itself."""

DUMP_SIGNAL = signal.SIGUSR1
"""Asks for the stack of every thread on standard error."""


def main(arguments: list[str]) -> None:
    """Load what the first request names, then score until requests end."""
    channel = Channel(int(arguments[0]))
    try:
        rewards = [load(**spec) for spec in channel.receive()]
        channel.send({"loaded": [description(reward) for reward in rewards]})
        serve(channel, rewards)
    except BaseException as error:
        # Recovery: whatever a user's module raises, `SystemExit` too, is told in one line.
        channel.send({"failed": _told(error)})


def serve(channel: Channel, rewards: Sequence[Reward]) -> None:
    """Answer requests in their order; one that fails leaves the rewards as they are."""
    loop = asyncio.new_event_loop()
    while (request := channel.receive()) is not None:
        try:
            reply = _scored(rewards, _rollouts(request), loop, channel)
        except BaseException as error:
            # Recovery: as in `main`; the parent decides whether the run ends.
            reply = {"failed": _told(error)}
        channel.send(reply)


class Channel:
    """The pipes to the parent."""

    def __init__(self, replies: int) -> None:
        os.set_inheritable(replies, False)
        self._replies: BinaryIO = os.fdopen(replies, "wb")
        self._requests = os.fdopen(os.dup(0), "rb")
        self._waiting: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        nowhere = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nowhere, 0)
        faulthandler.register(DUMP_SIGNAL, file=2, all_threads=True)
        _die_first()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> NoReturn:
        signal.pthread_sigmask(signal.SIG_BLOCK, {DUMP_SIGNAL})
        for line in self._requests:
            self._waiting.put(line)
        self._waiting.put(b"")
        time.sleep(GRACE_S)
        os.killpg(0, signal.SIGKILL)
        raise SystemExit

    def receive(self) -> Any:
        """The next request; `None` when there will be none."""
        line = self._waiting.get()
        return json.loads(line) if line else None

    def send(self, reply: Any) -> None:
        self._replies.write(json.dumps(reply).encode() + b"\n")
        self._replies.flush()


def _die_first() -> None:
    """Where memory ends, the kernel shall take this process and not the run."""
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w") as file:
        file.write("1000")


def description(reward: Reward) -> dict[str, Any]:
    """What the parent must know of a loaded reward; see `rewards.hosted.process.Hosted`."""
    return {
        "name": reward.name,
        "dialect": reward.dialect.name,
        "required_columns": sorted(reward.required_columns),
        "accepts": None if reward.is_open else sorted(reward.parameters),
        "gold": None if reward.gold_rule is None else asdict(reward.gold_rule),
        "pickles": _pickles(reward.function),
    }


def _pickles(function: object) -> bool:
    """Whether `function` can be written for another process; nothing is ever read back here."""
    try:
        ForkingPickler.dumps(function)
    except Exception:
        # Recovery: whatever a user's `__reduce__` raises, the answer is no.
        return False
    return True


def _rollouts(request: dict[str, Any]) -> Rollouts:
    state = request["trainer_state"]
    return Rollouts(
        prompts=unpacked(request["prompts"]),
        completions=request["completions"],
        completion_ids=request["completion_ids"],
        truncated=request["truncated"],
        columns=unpacked(request["columns"]),
        step=request["step"],
        trainer_state=None if state is None else SimpleNamespace(**unpacked(state)),
        prompt_ends=request["prompt_ends"],
    )


def _scored(
    rewards: Sequence[Reward],
    rollouts: Rollouts,
    loop: asyncio.AbstractEventLoop,
    channel: Channel,
) -> dict[str, Any]:
    log, started = Log(len(rollouts.completions)), []
    for index, reward in enumerate(rewards):
        channel.send({"at": index})
        started.append(reward.start(rollouts, log))
    if any(inspect.isawaitable(x) for results in started for x in results):
        channel.send({"at": None})
        started = loop.run_until_complete(_gather(started))
    verdicts = [
        reward.finish(results, rollouts, log)
        for reward, results in zip(rewards, started, strict=True)
    ]
    columns = {name: [_recorded(v) for v in values] for name, values in log.columns.items()}
    return {
        "verdicts": [[_fields(verdict) for verdict in each] for each in verdicts],
        "columns": columns,
        "metrics": log.metrics,
    }


async def _gather(started: list[list[Any]]) -> list[list[Any]]:
    """Await, all at once, whatever is awaitable; exceptions take the place of results."""

    async def settle(results: list[Any]) -> list[Any]:
        return list(await asyncio.gather(*(_settled(result) for result in results)))

    return list(await asyncio.gather(*(settle(results) for results in started)))


async def _settled(result: Any) -> Any:
    if not inspect.isawaitable(result):
        return result
    try:
        return await result
    except RewardError:
        raise
    except BaseException as error:
        # Recovery: as in `Reward.start`, the exception stands where the result would. Here nobody
        # presses Ctrl-C and nothing cancels: a `CancelledError`, too, is the reward's own.
        return error


def _fields(verdict: Verdict) -> list[Any]:
    return [verdict.score, verdict.kind.value, verdict.reason, verdict.extracted]


def _recorded(value: Any) -> Any:
    try:
        return packed(value, what="a recorded value")
    except (RewardError, RecursionError):
        return str(value)  # as the completions' table would show it


def _told(error: BaseException) -> str:
    if isinstance(error, RewardError):
        return message_of(error)
    return one_line(error)


if __name__ == "__main__":
    main(sys.argv[1:])
