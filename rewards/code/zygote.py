"""A warm interpreter that forks one confined pair of processes per job: program and judge.

It runs no foreign code itself, and reads none: of each job it takes the limits, then the program
process takes the source and the judge the tests, each straight from stdin. What this process
never held, a program forked from it cannot find in its memory, were it the tests of an earlier
job. Started by `rewards.code.sandbox` as a bare interpreter; end of input ends it.
"""

from __future__ import annotations

import contextlib
import gc
import glob
import importlib
import json
import os
import select
import shutil
import signal
import sys
import tempfile
import time
from dataclasses import dataclass
from typing import Any

from rewards.code.bridge.wire import Channel, WireError
from rewards.code.confine import Limits, confine, die_with_parent, missing_protections, prepare
from rewards.code.judge.process import run_tests
from rewards.code.program import serve
from rewards.code.script import run_script

FOLDER_BYTES = 16 << 20
"""What a program may write in all; looked at every `_LOOK_S` seconds."""

MAX_OUTPUT = 8 << 20
"""What a script may print."""

_LOOK_S = 0.05
_TAKEN = b" "  # first byte of a result, blank in JSON: stdin holds the next job
_MAX_RESULT_BYTES = 1 << 16
_PRELOADED = (
    "abc array bisect cmath collections contextlib copy dataclasses datetime decimal enum "
    "fractions functools heapq itertools json math numbers operator queue random re statistics "
    "string struct symtable types typing unittest"
)


def main() -> None:
    """Say what protections are missing, then run jobs until stdin ends."""
    for name in _PRELOADED.split():
        importlib.import_module(name)
    prepare()
    # A collection in a child would touch, and so copy, every page that it shares with this process.
    gc.collect()
    gc.freeze()
    root = sys.argv[1]
    parent = Channel(0, 1)
    parent.send({"missing": missing_protections()})
    try:
        while not _answer(parent, root):
            pass
    except WireError:
        # The parent is gone, perhaps killed, so nobody else removes the folder.
        shutil.rmtree(root, ignore_errors=True)


def _answer(parent: Channel, root: str) -> bool:
    """Run the next job; return whether it has to be the last."""
    limits = parent.receive()
    folder = tempfile.mkdtemp(dir=root)
    result = (_run_script if limits["is_script"] else _run_job)(limits, folder)
    shutil.rmtree(folder, ignore_errors=True)
    parent.send(result)
    return bool(result["last"])


@dataclass(slots=True)
class _Child:
    """One forked process; its processor time and status are known once it was reaped."""

    pid: int
    used_s: float = 0.0
    status: int = 0

    def ready_s(self) -> float:
        """Seconds it has run or wanted to run, had a processor been free (proc(5), schedstat)."""
        busiest = 0
        for path in glob.glob(f"/proc/{self.pid}/task/*/schedstat"):
            with contextlib.suppress(OSError), open(path) as stat:
                ran, waited, _ = stat.read().split()
                busiest = max(busiest, int(ran) + int(waited))
        return busiest / 1e9

    def kill(self) -> None:
        """Kill its process group and reap it."""
        for stop in (os.killpg, os.kill):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                stop(self.pid, signal.SIGKILL)
        _, status, usage = os.wait4(self.pid, 0)
        self.status = os.waitstatus_to_exitcode(status)
        self.used_s = usage.ru_utime + usage.ru_stime

    def has_spent(self, cpu_s: float, others_s: float = 0.0) -> bool:
        """Whether it, with what `others_s` used for it, used up its processor time.

        A tenth of slack: the kernel's clock of the limit and its account of use differ a little,
        and on a virtual machine whose processors are taken away by more, so its signal counts too.
        """
        return self.used_s + others_s >= 0.9 * cpu_s or self.status == -signal.SIGXCPU


def _run_script(job: dict[str, Any], folder: str) -> dict[str, Any]:
    """Fork a program that reads its input and prints; return what it printed."""
    result_in, result_out = os.pipe()

    def run_program() -> None:
        message = _take_from_parent()
        os.write(result_out, _TAKEN)
        os.dup2(result_out, 1)
        os.close(result_out)
        run_script(**message)

    limits = Limits(job["cpu_s"], job["memory_mb"])
    program = _fork(run_program, folder, limits, keep=(result_out,))
    os.close(result_out)
    raw, stopped = _watch(result_in, folder, time.monotonic() + job["wall_s"])
    starved = stopped == "time" and _is_starved(job["wall_s"], program)
    program.kill()
    os.close(result_in)
    spent = program.has_spent(limits.cpu_s)
    if not raw:
        return _not_begun(stopped)
    text = raw[len(_TAKEN) :].decode(errors="replace")
    if stopped in ("", "output") and not spent:
        return {"outcome": "ran", "detail": text, "status": program.status, "last": False}
    result = {"outcome": "failed", "detail": "a limit stopped the program"}
    return _outcome(json.dumps(result).encode(), stopped, starved, spent) | {"last": False}


def _run_job(job: dict[str, Any], folder: str) -> dict[str, Any]:
    """Fork the pair, watch it, kill it; "last" says that stdin was left in the middle of a job."""
    limits = Limits(job["cpu_s"], job["memory_mb"])
    judge_in, program_out = os.pipe()
    program_in, judge_out = os.pipe()
    result_in, result_out = os.pipe()

    def run_program() -> None:
        message = _take_from_parent()
        channel = Channel(program_in, program_out)
        channel.send("taken")
        serve(channel, **message)

    def run_judge() -> None:
        channel = Channel(judge_in, judge_out)
        channel.receive()  # the source is taken, so what stdin holds next are the tests
        tests = _take_from_parent()
        os.write(result_out, _TAKEN)
        result = run_tests(channel, **tests)
        os.write(result_out, json.dumps(result).encode()[:_MAX_RESULT_BYTES])

    program = _fork(run_program, folder, limits, keep=(program_in, program_out))
    judge = _fork(run_judge, folder, limits, keep=(judge_in, judge_out, result_out))
    for fd in (judge_in, program_out, program_in, judge_out, result_out):
        os.close(fd)
    raw, stopped = _watch(result_in, folder, time.monotonic() + job["wall_s"])
    # The two take turns, so a job that neither wanted to go on with has slept of its own will.
    starved = stopped == "time" and _is_starved(job["wall_s"], program, judge)
    program.kill()
    judge.kill()
    os.close(result_in)
    if not raw:
        return _not_begun(stopped)
    # At the deadline, what both have used counts: they may call each other for ever.
    spent = program.has_spent(limits.cpu_s, judge.used_s if stopped == "time" else 0.0)
    return _outcome(raw.strip(), stopped, starved, spent) | {"last": False}


def _is_starved(wall_s: float, *children: _Child) -> bool:
    """Whether a job wanted to run for most of its time, and was not let."""
    return wall_s - sum(child.ready_s() for child in children) < wall_s / 3


def _not_begun(stopped: str) -> dict[str, Any]:
    """Before any foreign code runs, so not told by the exit status, which a program can choose."""
    outcome = "starved" if stopped == "time" else "broken"
    detail = "the tests did not begin: too little time, or a process could not be confined"
    return {"outcome": outcome, "detail": detail, "last": True}


def _outcome(raw: bytes, stopped: str, starved: bool, spent: bool) -> dict[str, Any]:
    result = (
        json.loads(raw) if raw else {"outcome": "failed", "detail": "a limit stopped the tests"}
    )
    if result["outcome"] == "failed" and spent:
        result["detail"] = "time limit exceeded"
    elif stopped == "space":
        result["detail"] = f"more than {FOLDER_BYTES} bytes written"
    elif starved:
        result = {"outcome": "starved", "detail": "the machine gave it too little processor time"}
    elif stopped == "time":
        result["detail"] = "it waited until the deadline"
    return dict(result)


def _fork(run: Any, folder: str, limits: Limits, keep: tuple[int, ...]) -> _Child:
    pid = os.fork()
    if pid:
        return _Child(pid)
    # The child must never return into the zygote's loop, whatever happens.
    status = 1
    try:
        die_with_parent()
        os.setsid()
        _close_all_but(keep)
        os.chdir(folder)
        os.environ.clear()
        confine(folder, limits)
        run()
        status = 0
    except WireError:
        status = 0
    finally:
        os._exit(status)


def _take_from_parent() -> Any:
    """Read one message from stdin, then give stdin up."""
    message = Channel(0, -1).receive()
    os.dup2(1, 0)
    return message


def _close_all_but(keep: tuple[int, ...]) -> None:
    """Close all descriptors but `keep` and stdin, and point the outputs to nowhere."""
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 1)
    os.dup2(null, 2)
    low = 3
    for fd in (*sorted(keep), 1 << 16):
        os.closerange(low, fd)
        low = fd + 1


def _watch(result: int, folder: str, deadline: float) -> tuple[bytes, str]:
    """Read the judge's result; return it and why reading stopped.

    That is "time", "space", "output" (too much of it), "parent" or "" at the end.
    """
    raw = b""
    poller = select.poll()
    poller.register(result, select.POLLIN)
    poller.register(0, 0)  # nothing but its end: the parent's
    while time.monotonic() < deadline:
        if len(raw) > MAX_OUTPUT:
            return raw, "output"
        ready = [descriptor for descriptor, _ in poller.poll(_LOOK_S * 1000)]
        if 0 in ready:
            return raw, "parent"
        if not ready:
            if _overfull(folder):
                return raw, "space"
            continue
        part = os.read(result, _MAX_RESULT_BYTES)
        if not part:
            return raw, ""
        raw += part
    return raw, "time"


def _overfull(folder: str) -> bool:
    """Whether a program has written more than `FOLDER_BYTES`; an empty file counts as a page.

    Without the right to make folders, all that it writes lies flat in this one.
    """
    total = 0
    with os.scandir(folder) as entries:
        for entry in entries:
            with contextlib.suppress(FileNotFoundError):  # removed since it was listed
                total += 4096 + entry.stat(follow_symlinks=False).st_size
            if total > FOLDER_BYTES:  # at once: a program may add files faster than we count
                return True
    return False
