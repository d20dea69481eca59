"""A run's own rewards in a process that can be killed, from the side of the run.

Code of a user's may sleep for ever, leave by `sys.exit` or `os._exit`, print, or eat the memory:
the run says so in one line, with the place in that code and what it printed last. The process is
started once and lives between batches; after a deadline it is killed, and the next batch finds a
new one. See `rewards.hosted.host` for what runs in it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rewards.dialects import Rollouts
from rewards.errors import RewardError
from rewards.golds import GoldRule
from rewards.hosted.child import Child, LostError, encoded
from rewards.hosted.wire import packed, unpacked
from rewards.verdict import Verdict, VerdictKind

TIMEOUT_S, WARMUP_TIMEOUT_S = 60.0, 300.0
"""Defaults of a batch, and of loading the rewards' modules and what these load."""


@dataclass(frozen=True, slots=True)
class Hosted:
    """What is known of a reward that was loaded elsewhere.

    Attributes:
        name: short name, used in metrics and messages.
        dialect: how it is called.
        required_columns: columns it cannot be called without.
        accepts: parameters it has; `None` if it takes any.
        gold_rule: where its gold answers come from and what they may be; `None` if it has none.
        pickles: whether the function could be sent to another process.
    """

    name: str
    dialect: str
    required_columns: frozenset[str]
    accepts: frozenset[str] | None
    gold_rule: GoldRule | None
    pickles: bool


@dataclass(frozen=True, slots=True)
class Batch:
    """What became of one batch: verdicts by reward, and what was recorded beside them."""

    verdicts: list[list[Verdict]]
    columns: dict[str, list[Any]]
    metrics: dict[str, float]


class RewardProcess:
    """Rewards in a child process, loaded when this is made.

    Args:
        specs: keywords of `rewards.plugins.load`, one dict a reward.
        timeouts_s: what each reward may take for a batch.
        warmup_timeout_s: what loading all of them may take.

    Raises:
        RewardError: one cannot be loaded, or not in time.
    """

    def __init__(
        self,
        specs: Sequence[dict[str, Any]],
        *,
        timeouts_s: Sequence[float],
        warmup_timeout_s: float,
    ) -> None:
        self._specs, self._timeouts_s = list(specs), list(timeouts_s)
        self._warmup_timeout_s = warmup_timeout_s
        self._lock = threading.Lock()
        self._child: Child | None = None
        self.rewards = self._start()

    def score(self, rollouts: Rollouts) -> Batch:
        """Score one batch with every reward.

        Raises:
            RewardError: a reward raised, ran out of time, or ended its process.
        """
        with self._lock:
            request = encoded(self._request(rollouts))
            for is_last in (False, True):
                if self._child is None or not self._child.is_ours:
                    self._start()
                try:
                    return self._exchange(request, rollouts)
                except LostError as error:
                    # Recovery: memory may have run out by another's fault; once more, in a new one.
                    self._stop()
                    if is_last:
                        raise RewardError(f"{error} So it was twice with this batch.") from error
        raise AssertionError("the last attempt returns or raises")

    def printed(self) -> str:
        """The last that the rewards printed, in the batch before."""
        return "" if self._child is None else self._child.tail()

    def close(self) -> None:
        """End the process; the next batch would start it again."""
        if self._child is not None and self._child.is_ours:
            self._child.close()
        self._child = None

    def _start(self) -> list[Hosted]:
        self._child = child = Child("rewards.hosted.host")
        try:
            child.send(encoded(self._specs), time.monotonic() + self._warmup_timeout_s)
            reply = child.receive(time.monotonic() + self._warmup_timeout_s)
        except (LostError, RewardError, TimeoutError) as error:
            names = ", ".join(repr(spec["name"]) for spec in self._specs)
            message = self._ended(error, f"while {names} was loaded", self._warmup_timeout_s)
            self._stop()
            raise RewardError(message) from error
        if "failed" in reply:
            message = reply["failed"] + child.quoted_tail()
            self._stop()
            raise RewardError(message)
        return [_hosted(found) for found in reply["loaded"]]

    def _request(self, rollouts: Rollouts) -> dict[str, Any]:
        wanted: set[str] | None = set()
        for reward in self.rewards:
            if reward.accepts is None:
                wanted = None
            elif wanted is not None:
                wanted |= reward.accepts | reward.required_columns | {"data_source", "extra_info"}
        columns = {
            name: packed(list(values), what=f"column {name!r}")
            for name, values in rollouts.columns.items()
            if wanted is None or name in wanted
        }
        ids: Any = rollouts.completion_ids
        if wanted is not None and "completion_ids" not in wanted:
            ids = [()] * len(rollouts.completions)  # megabytes that nobody would read
        return {
            "prompts": packed(list(rollouts.prompts), what="prompts"),
            "completions": list(rollouts.completions),
            "completion_ids": [list(row) for row in ids],
            "truncated": list(rollouts.truncated),
            "columns": columns,
            "step": rollouts.step,
            "trainer_state": _state(rollouts.trainer_state),
            "prompt_ends": list(rollouts.prompt_ends),
        }

    def _exchange(self, request: bytes, rollouts: Rollouts) -> Batch:
        child, at = self._child, 0
        assert child is not None
        child.forget_output()
        limit_s = self._timeouts_s[0]
        try:
            child.send(request, time.monotonic() + limit_s)
            while True:
                reply = child.receive(time.monotonic() + limit_s)
                if "at" not in reply:
                    break
                index = reply["at"]
                at = at if index is None else index
                limit_s = max(self._timeouts_s) if index is None else self._timeouts_s[index]
        except TimeoutError as error:
            message = self._timed_out(at, limit_s, len(rollouts.completions))
            self._stop()
            raise RewardError(message) from error
        except (LostError, RewardError) as error:
            message = self._ended(error, f"at step {rollouts.step}", limit_s, at)
            self._stop()
            raise type(error)(message) from error
        except BaseException:
            self._stop()  # Ctrl-C: a later batch must not read this one's reply
            raise
        if "failed" in reply:
            raise RewardError(reply["failed"] + child.quoted_tail())
        return self._read(reply)

    def _read(self, reply: dict[str, Any]) -> Batch:
        verdicts = [[_verdict(fields) for fields in each] for each in reply["verdicts"]]
        columns = {name: unpacked(values) for name, values in reply["columns"].items()}
        if any(v.kind is VerdictKind.ERROR for each in verdicts for v in each):
            assert self._child is not None
            tail = self._child.quoted_tail()
            verdicts = [_with_output(each, tail) for each in verdicts]
        return Batch(verdicts, columns, reply["metrics"])

    def _timed_out(self, at: int, limit_s: float, num_rows: int) -> str:
        assert self._child is not None
        place = self._child.place()
        where = f" (it was at {place})" if place else ""
        return (
            f"reward {self.rewards[at].name!r} must score a batch of {num_rows} within "
            f"reward.timeout_s = {limit_s:g} s, it did not{where} and was stopped. Mend the "
            f"function, or raise its timeout_s.{self._child.quoted_tail()}"
        )

    def _ended(self, error: Exception, when: str, limit_s: float, at: int | None = None) -> str:
        assert self._child is not None
        who = "the rewards" if at is None else f"reward {self.rewards[at].name!r}"
        tail = self._child.quoted_tail()
        if isinstance(error, TimeoutError):
            place = self._child.place()
            where = f" (at {place})" if place else ""
            return (
                f"{who} must be loaded within reward.warmup_timeout_s = {limit_s:g} s, {when} it "
                f"ran out{where}. Mend what the module does when it is imported, or raise the "
                f"limit.{tail}"
            )
        return f"the process of {who} must stay alive, {when} {error}.{tail}"

    def _stop(self) -> None:
        if self._child is not None:
            self._child.kill()
        self._child = None


def _hosted(found: dict[str, Any]) -> Hosted:
    accepts, gold = found["accepts"], found["gold"]
    return Hosted(
        found["name"],
        found["dialect"],
        frozenset(found["required_columns"]),
        None if accepts is None else frozenset(accepts),
        None if gold is None else GoldRule(**gold),
        found["pickles"],
    )


def _verdict(fields: list[Any]) -> Verdict:
    score, kind, reason, extracted = fields
    return Verdict(score, VerdictKind(kind), reason, extracted)


def _with_output(verdicts: list[Verdict], tail: str) -> list[Verdict]:
    """Append what was printed to the first row that failed: the row an error would quote."""
    row = next((n for n, v in enumerate(verdicts) if v.kind is VerdictKind.ERROR), None)
    if row is not None and tail:
        failed = verdicts[row]
        verdicts[row] = Verdict(None, failed.kind, failed.reason + tail)
    return verdicts


def _state(state: object) -> Any:
    """The plain values of a trainer's state, by name."""
    if state is None:
        return None
    names = [name for name in dir(state) if not name.startswith("_")]
    found = {name: getattr(state, name, None) for name in names}
    plain = (bool, int, float, str, list, dict, type(None))
    return {
        name: packed(value, what=f"trainer_state.{name}")
        for name, value in found.items()
        if isinstance(value, plain)
    }
