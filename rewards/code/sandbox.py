"""Run programs against tests in confined processes, from any thread of any process."""

from __future__ import annotations

import atexit
import os
import queue
import shutil
import subprocess
import sys
import tempfile
import threading
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rewards.code.bridge.wire import Channel, WireError
from rewards.code.script import printed_by, script_outcome

_ROOT = str(Path(__file__).resolve().parents[2])
_START = (
    "import sys; sys.path.append({root!r}); from rewards.code.zygote import main; "
    "sys.path.remove({root!r}); main()"
)
_GRACE_S = 10.0


@dataclass(frozen=True, slots=True)
class Job:
    """One program and the tests it has to pass.

    Attributes:
        source: the program, untrusted.
        tests: test programs in order, each of which raises if it fails.
        scripts: inputs to run the program on, each with what it has to print; in place of tests.
        preamble: code that runs before the program, in its namespace.
        prelude: code of the benchmark that runs before the tests.
        entry_point: the function under test, where the prelude defines a stub of that name.
        cpu_s: processor seconds for the program, and as many for the tests; for each script.
        wall_s: seconds until both are killed.
        memory_mb: address space of each.
    """

    source: str
    tests: tuple[str, ...] = ()
    scripts: tuple[tuple[str, str], ...] = ()
    preamble: str = ""
    prelude: str = ""
    entry_point: str = ""
    cpu_s: int = 5
    wall_s: float = 15.0
    memory_mb: int = 1024


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a job ended.

    Attributes:
        outcome: `passed`, `failed`, `syntax` (the program cannot be compiled), `bad tests`,
            `unjudged` (nothing but the program's own word decides),
            `starved` (killed at the deadline while waiting for a processor) or `broken` (the
            sandbox itself failed).
        detail: one line for a person.
    """

    outcome: str
    detail: str


class Sandbox:
    """`num_workers` warm interpreters, started on demand; each runs one job at a time."""

    def __init__(self, num_workers: int | None = None) -> None:
        self.num_workers = num_workers or _num_processors()
        self.missing: tuple[str, ...] | None = None
        self._idle: queue.LifoQueue[_Worker | None] = queue.LifoQueue()
        for _ in range(self.num_workers):
            self._idle.put(None)

    def run(self, job: Job) -> Outcome:
        """Run one job; waits for a free worker. Never raises for what the program does."""
        return self._lent(
            lambda worker: worker.run_scripts(job) if job.scripts else worker.run(job)
        )

    def run_script(self, job: Job) -> Outcome:
        """Run a program that is tested by nothing.

        Returns:
            `printed`, with all that it printed as the detail; else as `run`.
        """
        return self._lent(lambda worker: Outcome(*printed_by(worker.run_script(job, ""))))

    def _lent(self, do: Callable[[_Worker], Outcome]) -> Outcome:
        worker = self._idle.get()
        fit: _Worker | None = None
        try:
            worker = worker or self._start()
            outcome = do(worker)
            fit = None if worker.ended else worker
            return outcome
        except WireError as error:
            return Outcome("broken", f"the sandbox failed: {error}")
        finally:
            # Whatever cut a job short, its worker must not hand the result to the next one.
            if worker is not None and fit is None:
                worker.close()
            self._idle.put(fit)

    def run_many(self, jobs: Sequence[Job]) -> list[Outcome]:
        """Run jobs on all workers; results in the order of the jobs."""
        if len(jobs) < 2:
            return [self.run(job) for job in jobs]
        with ThreadPoolExecutor(self.num_workers) as threads:
            return list(threads.map(self.run, jobs))

    def close(self) -> None:
        """Stop the workers; jobs that run are waited for."""
        for _ in range(self.num_workers):
            worker = self._idle.get()
            if worker is not None:
                worker.close()
        for _ in range(self.num_workers):
            self._idle.put(None)

    def _start(self) -> _Worker:
        worker = _Worker()
        if self.missing is None:
            self.missing = worker.missing
            if self.missing:
                warnings.warn(
                    "the code sandbox runs without these protections: " + "; ".join(self.missing),
                    RuntimeWarning,
                    stacklevel=2,
                )
        return worker


class _Worker:
    """One zygote process, and the folder that the folders of its jobs lie in."""

    def __init__(self) -> None:
        self._folder = tempfile.mkdtemp(prefix="sandbox-")
        # -P -s -S: neither the working folder nor any site-packages is importable.
        command = [sys.executable, "-P", "-s", "-S", "-B", "-c", _START.format(root=_ROOT)]
        environment = {"PYTHONHASHSEED": "0", "PYTHONUTF8": "1"}
        self._process = subprocess.Popen(
            [*command, self._folder],
            bufsize=0,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment,
            start_new_session=True,
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._channel = Channel(self._process.stdout.fileno(), self._process.stdin.fileno())
        self.missing = tuple(self._receive(_GRACE_S)["missing"])
        self.ended = False

    def run(self, job: Job) -> Outcome:
        # Three messages for three readers; the zygote itself sees neither source nor tests.
        self._send_limits(job)
        self._channel.send({"source": job.source, "preamble": job.preamble})
        self._channel.send(
            {"prelude": job.prelude, "tests": job.tests, "entry_point": job.entry_point}
        )
        result = self._receive(job.wall_s + _GRACE_S)
        self.ended = result["last"]
        return Outcome(result["outcome"], result["detail"])

    def run_scripts(self, job: Job) -> Outcome:
        """Run the program on one input after the other; what it has to print stays here."""
        for number, (given, wanted) in enumerate(job.scripts, start=1):
            outcome, detail = script_outcome(self.run_script(job, given), wanted)
            if outcome != "passed":
                where = f"input {number} of {len(job.scripts)}"
                return Outcome(outcome, f"{where}: {detail}"[:500])
        return Outcome("passed", f"{len(job.scripts)} of {len(job.scripts)} inputs passed")

    def run_script(self, job: Job, given: str) -> dict[str, Any]:
        """Run the program on one input."""
        self._send_limits(job, is_script=True)
        self._channel.send({"source": job.source, "preamble": job.preamble, "text": given})
        return self._receive(job.wall_s + _GRACE_S)

    def _send_limits(self, job: Job, *, is_script: bool = False) -> None:
        limits = {"cpu_s": job.cpu_s, "wall_s": job.wall_s, "memory_mb": job.memory_mb}
        self._channel.send({**limits, "is_script": is_script})

    def close(self) -> None:
        """Kill it, and with it the processes of a job that may still run."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _receive(self, timeout_s: float) -> dict[str, Any]:
        # The zygote keeps the deadline of a job; this is the net under it.
        timer = threading.Timer(timeout_s, self._process.kill)
        timer.start()
        try:
            return dict(self._channel.receive())
        finally:
            timer.cancel()


def _num_processors() -> int:
    affinity = getattr(os, "sched_getaffinity", None)  # what the scheduler leaves us, on Linux
    return len(affinity(0)) if affinity else os.cpu_count() or 1


_shared: dict[int, Sandbox] = {}
_lock = threading.Lock()


def shared_sandbox() -> Sandbox:
    """Return this process's sandbox; a forked child gets its own."""
    with _lock:
        sandbox = _shared.get(os.getpid())
        if sandbox is None:
            _shared.clear()
            sandbox = _shared[os.getpid()] = Sandbox()
            atexit.register(sandbox.close)
        return sandbox
