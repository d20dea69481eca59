"""The environments of a run in a process that can be killed, from the side of the run.

What an environment does wrong is a failure of its own conversation, which is worth nothing then and
is counted; only one that cannot even be loaded raises.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rewards.environments.base import Nonsense, read_opening, read_step
from rewards.errors import RewardError
from rewards.hosted.child import NO_REPLY, Child, LostError, encoded
from rewards.hosted.wire import packed
from rewards.verdict import Verdict, VerdictKind

GRACE_S = 2.0
"""Beyond its limit, for a call to be interrupted in its process before that is killed."""


@dataclass(frozen=True, slots=True)
class EnvironmentSpec:
    """One environment of a recipe.

    Attributes:
        name: a built-in one, or `package.module:Class`.
        options: keywords of its class.
        timeout_s: what a call may take.
        warmup_timeout_s: what importing its module may take.
        memory_mb: address space of its process; `None`: no limit.
    """

    name: str
    options: Mapping[str, Any]
    timeout_s: float
    warmup_timeout_s: float
    memory_mb: int | None


Call = dict[str, Any]
Answers = dict[str, Any]
"""By conversation, a text or a `Step`, or the `Verdict` of one that failed."""


class Environments:
    """Those of all conversations, in one child process, loaded when this is made.

    Raises:
        RewardError: it cannot be loaded, or not in time.
    """

    def __init__(self, spec: EnvironmentSpec) -> None:
        self.spec, self._turn = spec, threading.Lock()
        self._child: Child | None = None
        self._open: set[str] = set()
        self._over: set[str] = set()
        self._start()

    def reset(self, rows: Mapping[str, tuple[Mapping[str, Any], int]]) -> Answers:
        """Begin conversations, each with a row and a seed; what each environment says at first."""
        calls = [
            {"name": name, "do": "reset", "seed": seed, "row": packed(dict(row), what="a row")}
            for name, (row, seed) in rows.items()
        ]
        with self._turn:
            self._open |= rows.keys()
            return self._answers(calls)

    def step(self, texts: Mapping[str, str]) -> Answers:
        """What environments answer to turns of the policy."""
        with self._turn:
            here = {name: text for name, text in texts.items() if name in self._open}
            lost = {
                name: self._failed("is gone, its process was lost.") for name in texts.keys() - here
            }
            calls = [{"name": n, "do": "step", "text": text} for n, text in here.items()]
            found = {**lost, **self._answers(calls)}
            return {name: found[name] for name in texts}

    def forget(self, names: Sequence[str]) -> None:
        """Let go of the environments of conversations that are over."""
        with self._turn:
            self._open -= {*names}
            self._over |= {*names}

    def close(self) -> None:
        """End the process; the next conversation would start it again."""
        if self._child is not None and self._child.is_ours:
            self._child.close()
        self._child = None

    def _start(self) -> Child:
        spec, self._child = self.spec, Child("rewards.environments.host")
        asked = {
            "name": spec.name,
            "options": dict(spec.options),
            "timeout_s": spec.timeout_s,
            "memory_mb": spec.memory_mb,
        }
        try:
            due = time.monotonic() + spec.warmup_timeout_s
            self._child.send(encoded(asked), due)
            reply = self._child.receive(due)
        except (LostError, RewardError, TimeoutError) as error:
            late = f"within environment.warmup_timeout_s = {spec.warmup_timeout_s:g} s"
            how = late if isinstance(error, TimeoutError) else f"in a process that lives, {error}"
            reply = {"failed": f"environment {spec.name!r} must be loaded {how}."}
        if "failed" in reply:
            tail = self._child.quoted_tail()
            self._stop()
            raise RewardError(reply["failed"] + tail)
        return self._child

    def _answers(self, calls: Sequence[Call]) -> Answers:
        """Make calls; one that the process does not survive takes all others with it."""
        if not calls:
            return {}
        child = self._child if self._child is not None and self._child.is_ours else self._start()
        found: Answers = {}
        child.forget_output()
        # A reply names its call by a word that environments are not told. Code that looks for it
        # in the memory of its own process finds it: what is trusted is in the README.
        asked, awaited = {secrets.token_hex(8): call for call in calls}, set[str]()
        keyed = [{"key": key, **call} for key, call in asked.items()]
        request = {"calls": keyed, "forget": sorted(self._over)}
        self._over = set()
        try:
            child.send(encoded(request), self._due())
            while len(found) < len(calls):
                reply = child.receive(self._due())
                if "failed" in reply and "of" not in reply:
                    raise RewardError(f"it ended by {reply['failed']}")
                call = asked.get(str(reply.get("awaited", reply.get("of"))))
                if call is None or (name := call["name"]) in found:
                    raise RewardError(NO_REPLY)
                if "awaited" in reply:
                    if name in awaited:  # each gives those that are left time anew
                        raise RewardError(NO_REPLY)
                    awaited.add(name)
                else:
                    found[name] = self._read(reply, call["do"], _printing(calls))
        except (LostError, RewardError, TimeoutError) as error:
            left = [c["name"] for c in calls if c["name"] not in found]
            self._lose(left, awaited, error, found, _printing(calls))
        except BaseException:
            self._stop()  # Ctrl-C: a later request must not read this one's replies
            raise
        return found

    def _lose(
        self,
        left: Sequence[str],
        awaited: set[str],
        error: Exception,
        found: Answers,
        whose: str,
    ) -> None:
        """Say what became of calls without an answer, and of all conversations: they are over."""
        assert self._child is not None
        late = isinstance(error, TimeoutError)
        place = self._child.place() if late else ""
        where = f" (it was at {place})" if place else ""
        limit = f"must answer within environment.timeout_s = {self.spec.timeout_s:g} s{where}"
        how = f"{limit if late else f'must stay alive, {error}'}.{self._child.quoted_tail(whose)}"
        kind = VerdictKind.TIMEOUT if late else VerdictKind.ERROR
        # The first that was at work; of async ones nobody knows which kept the others waiting.
        first = next((name for name in left if name not in awaited), None)
        at_fault = {first} if first is not None else {*left}
        for name in left:
            lost = self._failed(f"was lost with another conversation's, which {how}")
            found[name] = self._failed(how, kind) if name in at_fault else lost
        self._open.clear()
        self._stop()

    def _read(self, reply: Mapping[str, Any], do: str, whose: str) -> Any:
        if "late" in reply:
            return self._failed(f"{reply['late']}.", VerdictKind.TIMEOUT)
        if "failed" in reply:
            assert self._child is not None
            return self._failed(f"{reply['failed']}.{self._child.quoted_tail(whose)}")
        value: Any = reply.get("found")
        try:  # its process may hold other code that writes to the pipe
            return read_opening(value) if do == "reset" else read_step(tuple(value))
        except (Nonsense, TypeError) as error:
            raise RewardError(NO_REPLY) from error

    def _failed(self, how: str, kind: VerdictKind = VerdictKind.ERROR) -> Verdict:
        return Verdict(None, kind, f"environment {self.spec.name!r} {how}")

    def _due(self) -> float:
        return time.monotonic() + self.spec.timeout_s + GRACE_S

    def _stop(self) -> None:
        if self._child is not None:
            self._child.kill()
        self._child = None


def _printing(calls: Sequence[Call]) -> str:
    """Who prints while calls are made: one process has the environments of all of them."""
    return "It" if len(calls) == 1 else f"The environments of these {len(calls)} conversations"
