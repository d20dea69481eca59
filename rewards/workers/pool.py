"""Warm worker processes with a deadline that kills.

A deadline that is not a process kill is none: alarms need the main thread, futures only stop
waiting. Here each worker is a fresh interpreter (never a fork of a threaded one) that speaks
JSON lines over its pipes, one request at a time; past the deadline its process group is killed,
it is reaped, and a new worker warms up in its place. No signal handler is used, so the pool
works the same from the main thread, other threads, asyncio and actors.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

from rewards.errors import RewardError

_START_DEADLINE_S = 60.0
_MAX_REPLY_BYTES = 2**20
_MOST_WAITING = 30
"""Deadlines that a request may take by the clock, however long it waits for a processor."""
_TICK_S = 1 / os.sysconf("SC_CLK_TCK")
_INHERITED = ("PATH", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "SYSTEMROOT")


@dataclass(frozen=True, slots=True)
class Reply:
    """What became of one request: the handler's JSON value, or why there is none."""

    kind: Literal["value", "timeout", "error"]
    value: Any = None


class WorkerPool:
    """Runs `handler(request) -> value`, both JSON, in killable processes.

    >>> pool = WorkerPool("rewards.math.evaluate.closed_form:closed_form")  # doctest: +SKIP
    >>> pool.map([{"latex": "1+1"}])  # doctest: +SKIP

    Args:
        handler: "module:function"; the function takes and returns what JSON can hold.
        num_workers: processes, started on first use.
        deadline_s: seconds one request may take, from its dispatch to a warm worker: of processor
            time where the worker computes and has to wait for a processor.
        memory_mb: address space of each worker.
        recycle_after: requests after which a worker is replaced, because caches only grow.
    """

    def __init__(
        self,
        handler: str,
        *,
        num_workers: int = 2,
        deadline_s: float = 1.0,
        memory_mb: int = 1024,
        recycle_after: int = 1000,
    ) -> None:
        if num_workers < 1 or deadline_s <= 0:
            raise RewardError(
                "num_workers must be at least 1 and deadline_s positive, got "
                f"{num_workers!r} and {deadline_s!r}."
            )
        self.handler = handler
        self.num_workers = num_workers
        self.deadline_s = deadline_s
        self.memory_mb = memory_mb
        self.recycle_after = recycle_after
        self._reset()

    def _reset(self) -> None:
        self._owner = os.getpid()
        self._idle: deque[_Worker] = deque()
        self._num_started = 0
        self._changed = threading.Condition()

    @property
    def pids(self) -> list[int]:
        """Process ids of the workers that are not at work."""
        return [worker.process.pid for worker in self._idle]

    def __enter__(self) -> WorkerPool:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the idle workers; the pool starts new ones if it is used again."""
        atexit.unregister(self.close)
        if os.getpid() != self._owner:  # a fork of the owner: the workers are not ours
            return
        with self._changed:
            workers = list(self._idle)
            self._idle.clear()
            self._num_started -= len(workers)
        for worker in workers:
            worker.kill()

    def map(self, requests: Sequence[Any]) -> list[Reply]:
        """Run all requests, as many at once as there are workers; replies in their order.

        Raises:
            RewardError: the handler cannot be started at all.
        """
        if os.getpid() != self._owner:
            self._reset()
        waiting = deque(enumerate(requests))
        replies = [Reply("error")] * len(requests)
        at_work: dict[int, _Task] = {}
        try:
            while waiting or at_work:
                self._dispatch(waiting, at_work, replies)
                self._collect(at_work, replies)
        finally:
            for task in at_work.values():  # only after an exception
                self._give_back(task.worker, usable=False)
        return replies

    def _dispatch(
        self,
        waiting: deque[tuple[int, Any]],
        at_work: dict[int, _Task],
        replies: list[Reply],
    ) -> None:
        while waiting and (worker := self._borrow(wait=not at_work)):
            index, request = waiting.popleft()
            line = json.dumps({"request": request, "deadline_s": self.deadline_s}).encode()
            task = _Task.begun(index, worker, self.deadline_s)
            if worker.send(line + b"\n", task.due):
                at_work[worker.descriptor] = task
            else:
                replies[index] = Reply("error", "the worker died before it took the request")
                self._give_back(worker, usable=False)

    def _collect(self, at_work: dict[int, _Task], replies: list[Reply]) -> None:
        """Wait for the next reply or the next deadline."""
        if not at_work:
            return
        left = min(task.due for task in at_work.values()) - time.monotonic()
        for descriptor in _readable(list(at_work), max(left, 0.0)):
            task = at_work[descriptor]
            reply = task.worker.receive()
            if reply is not None:
                replies[task.index] = reply
                del at_work[descriptor]
                self._give_back(task.worker, usable=not task.worker.dead)
        for descriptor, task in list(at_work.items()):
            if task.is_over():
                replies[task.index] = Reply("timeout", f"killed after {self.deadline_s:g} s")
                del at_work[descriptor]
                self._give_back(task.worker, usable=False)

    def _borrow(self, *, wait: bool) -> _Worker | None:
        """A warm worker; without one, `None` unless there is nothing else to wait for."""
        while True:
            with self._changed:
                while self._num_started < self.num_workers:
                    self._idle.append(self._start())
                worker = next((worker for worker in self._idle if worker.is_ready(0.0)), None)
                if worker is None and wait and self._idle:
                    worker = self._idle[0]
                if worker is not None:
                    self._idle.remove(worker)
                elif not wait:
                    return None
                else:
                    self._changed.wait(timeout=self.deadline_s)
                    continue
            if worker.is_ready(_START_DEADLINE_S):
                return worker
            self._give_back(worker, usable=False, replace=False)
            raise RewardError(
                f"worker for {self.handler!r} did not start within {_START_DEADLINE_S:g} s or "
                f"its limit of {self.memory_mb} MB. Check that the handler imports."
            )

    def _start(self) -> _Worker:
        atexit.unregister(self.close)
        atexit.register(self.close)
        self._num_started += 1
        return _Worker(self.handler, self.memory_mb)

    def _give_back(self, worker: _Worker, *, usable: bool, replace: bool = True) -> None:
        if not usable or worker.num_requests >= self.recycle_after:
            worker.kill()
        with self._changed:
            if worker.dead:
                self._num_started -= 1
                if replace:  # warms up while the others work
                    self._idle.append(self._start())
            else:
                self._idle.appendleft(worker)
            self._changed.notify()


@dataclass(slots=True)
class _Task:
    """A request at work.

    Attributes:
        due: when it is looked at again; after `latest` it is over whatever it waits for.
        end_s: the processor time of its worker at which it is over.
    """

    index: int
    worker: _Worker
    due: float
    latest: float
    end_s: float

    @classmethod
    def begun(cls, index: int, worker: _Worker, deadline_s: float) -> _Task:
        """One that is about to be sent."""
        now, (spent_s, _) = time.monotonic(), worker.processor()
        latest = now + _MOST_WAITING * deadline_s
        return cls(index, worker, now + deadline_s, latest, spent_s + deadline_s)

    def is_over(self) -> bool:
        """Whether its time is up; one that has had to wait for a processor gets the rest of it."""
        now = time.monotonic()
        if now < self.due:
            return False
        spent_s, computes = self.worker.processor()
        if not computes or spent_s >= self.end_s or now >= self.latest:
            return True
        self.due = now + max(self.end_s - spent_s, _TICK_S)
        return False


class _Worker:
    """One child process and its pipes."""

    def __init__(self, handler: str, memory_mb: int) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-m", "rewards.workers.worker", handler, str(memory_mb)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            env=_environment(),
        )
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.descriptor = self.process.stdout.fileno()
        self._input = self.process.stdin.fileno()
        os.set_blocking(self._input, False)
        self._buffer = b""
        self._ready = False
        self.dead = False
        self.num_requests = 0

    def is_ready(self, timeout_s: float) -> bool:
        """Whether the handler is imported; waits for it up to `timeout_s`."""
        due = time.monotonic() + timeout_s
        while not (self._ready or self.dead):
            if not _readable([self.descriptor], max(due - time.monotonic(), 0.0)):
                return False
            self._ready = self._read_line() is not None
        return self._ready and not self.dead

    def send(self, line: bytes, due: float) -> bool:
        self.num_requests += 1
        while line:
            poller = select.poll()
            poller.register(self._input, select.POLLOUT)
            writable = poller.poll(max(due - time.monotonic(), 0.0) * 1000)
            if not writable:
                return False
            try:
                line = line[os.write(self._input, line) :]
            except OSError:
                return False
        return True

    def receive(self) -> Reply | None:
        """The reply, once it is complete."""
        line = self._read_line()
        if self.dead:
            return Reply("error", "the worker died: memory limit or crash")
        if line is None:
            return None
        message = json.loads(line)
        if "error" in message:
            return Reply("error", message["error"])
        return Reply("value", message["value"])

    def _read_line(self) -> bytes | None:
        chunk = os.read(self.descriptor, 2**16)
        self._buffer += chunk
        self.dead = not chunk or len(self._buffer) > _MAX_REPLY_BYTES
        line, newline, rest = self._buffer.partition(b"\n")
        if not newline:
            return None
        self._buffer = rest
        return line

    def processor(self) -> tuple[float, bool]:
        """Processor seconds it has used, and whether it computes or waits to: it does not sleep.

        Where there is no /proc it cannot be told, and seconds by the clock count.
        """
        try:
            text = Path(f"/proc/{self.process.pid}/stat").read_text()
        except OSError:
            return 0.0, False
        fields = text.rpartition(")")[2].split()
        ticks = int(fields[11]) + int(fields[12])
        return ticks * _TICK_S, fields[0] in ("R", "D")

    def kill(self) -> None:
        """Kill the whole process group and reap it."""
        self.dead = True
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()
        self.process.wait()


def _readable(descriptors: list[int], timeout_s: float) -> list[int]:
    """`poll`, because `select` cannot watch descriptors beyond 1023."""
    poller = select.poll()
    for descriptor in descriptors:
        poller.register(descriptor, select.POLLIN | select.POLLHUP)
    return [descriptor for descriptor, _ in poller.poll(timeout_s * 1000)]


def _environment() -> dict[str, str]:
    """Nothing of the parent's environment but what an interpreter needs to start."""
    kept = {name: os.environ[name] for name in _INHERITED if name in os.environ}
    paths = [path or os.getcwd() for path in sys.path]
    return kept | {
        "PYTHONPATH": os.pathsep.join(paths),
        "OMP_NUM_THREADS": "1",
        "SYMPY_GROUND_TYPES": "python",  # GMP aborts the process on a huge factorial
    }
