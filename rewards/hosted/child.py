"""A child that runs the user's code: its pipes, its deadlines, and what it printed last."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import threading
import time
from typing import Any

from rewards.blame import place_in_dump
from rewards.errors import RewardError

MOST_REPLY_BYTES = 2**28
"""A longer reply is not read: what rewards record beside scores is theirs to keep small."""

NO_REPLY = "it wrote to the pipe of its replies what is none"
"""How a process failed whose code found that pipe."""

_TAIL, _QUOTED = 4000, 300  # bytes that are kept, characters that are shown
_CLOSE_S = 3.0
_DUMP_S = 2.0  # a busy machine takes its time
_GLANCE_S = 0.5
_DUMP_SIGNAL = signal.SIGUSR1


class LostError(Exception):
    """The process was ended by a signal from outside: the same batch may do better again."""


def encoded(request: Any) -> bytes:
    """A request as one line.

    Raises:
        RewardError: it has no form in JSON.
    """
    try:
        return json.dumps(request).encode() + b"\n"
    except (TypeError, ValueError, RecursionError) as error:
        raise RewardError(f"what a reward is given must have a form in JSON: {error}.") from error


class Child:
    """One process, its pipes, and the end of what it printed.

    Args:
        module: what it runs, with the descriptor for its replies as argument.
    """

    def __init__(self, module: str) -> None:
        self._owner = os.getpid()
        replies, theirs = os.pipe()
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-m", module, str(theirs)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            pass_fds=(theirs,),
            env=_environment(),
        )
        os.close(theirs)
        assert self.process.stdin is not None
        self._requests, self._replies = self.process.stdin.fileno(), replies
        os.set_blocking(self._requests, False)
        self._buffer = b""
        self._output = bytearray()
        assert self.process.stdout is not None
        # Not a method: the thread would keep this object, and so the child, alive for ever.
        source = os.dup(self.process.stdout.fileno())
        self._reader = threading.Thread(target=_drain, args=(source, self._output), daemon=True)
        self._reader.start()

    @property
    def is_ours(self) -> bool:
        """Whether this process started it; a fork of that one must not use its pipes."""
        return os.getpid() == self._owner

    def send(self, line: bytes, due: float) -> None:
        """Write a request.

        Raises:
            TimeoutError: it is not taken in time.
            LostError: the process was killed.
            RewardError: it ended by itself.
        """
        left = memoryview(line)
        while left:
            if not _wait(self._requests, select.POLLOUT, due):
                raise TimeoutError
            try:
                left = left[os.write(self._requests, left) :]
            except BlockingIOError:
                continue
            except OSError:
                raise self._lost() from None

    def receive(self, due: float) -> dict[str, Any]:
        """Read the next reply; see `send` for the errors, a `RewardError` for what is none, too."""
        while b"\n" not in self._buffer:
            # A fork of a reward's may hold the pipe open after the process itself is gone.
            gone = self.process.poll() is not None
            if not _wait(self._replies, select.POLLIN, min(due, time.monotonic() + _GLANCE_S)):
                if gone:
                    raise self._lost()
                if time.monotonic() >= due:
                    raise TimeoutError
                continue
            chunk = os.read(self._replies, 2**20)
            if not chunk:
                raise self._lost()
            self._buffer += chunk
            if len(self._buffer) > MOST_REPLY_BYTES:
                raise RewardError(f"they recorded more than {MOST_REPLY_BYTES >> 20} MiB in a step")
        line, _, self._buffer = self._buffer.partition(b"\n")
        with contextlib.suppress(ValueError, RecursionError):
            if isinstance(reply := json.loads(line), dict):
                return reply
        raise RewardError(NO_REPLY)

    def _lost(self) -> Exception:
        """How the process ended, as an error; one by its own will would come again."""
        try:
            code = self.process.wait(_CLOSE_S)
        except subprocess.TimeoutExpired:
            return RewardError("it closed the pipe to the run")
        if code < 0:
            name = signal.Signals(-code).name
            cause = ", mostly for want of memory" if code == -signal.SIGKILL else ""
            return LostError(f"it was killed by {name}{cause}")
        return RewardError(f"it ended with exit code {code} (os._exit?)")

    def place(self) -> str:
        """Where the main thread is, in the user's own code."""
        start = len(self._output)
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(_DUMP_SIGNAL)
        due = time.monotonic() + _DUMP_S
        place = ""
        while not place and time.monotonic() < due:
            time.sleep(0.02)
            place = place_in_dump(bytes(self._output[start:]).decode(errors="replace"))
        del self._output[start:]  # the dump is ours, not what they printed
        return place

    def _settle(self) -> None:
        """Let the thread read what was printed before the last reply."""
        assert self.process.stdout is not None
        for _ in range(20):
            waiting = not self.process.stdout.closed and _wait(
                self.process.stdout.fileno(), select.POLLIN, 0.0
            )
            if not (waiting and self._reader.is_alive()):
                break
            time.sleep(0.01)

    def tail(self) -> str:
        """The end of what was printed since `forget_output`."""
        self._settle()
        return bytes(self._output[-_TAIL:]).decode(errors="replace")

    def quoted_tail(self, whose: str = "It") -> str:
        """A sentence with the last lines that were printed; empty without any.

        Args:
            whose: who printed them.
        """
        text = _last_lines(self.tail())
        return f" {whose} printed: {text!r}." if text else ""

    def forget_output(self) -> None:
        """Leave out of `tail` what was printed so far."""
        self._output.clear()

    def close(self) -> None:
        """Let it end by itself, with its own last rites, then kill what is left."""
        assert self.process.stdin is not None
        with contextlib.suppress(OSError):
            self.process.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(_CLOSE_S)
        self.kill()

    def kill(self) -> None:
        """Kill the whole process group and reap it."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self._reader.join(_DUMP_S)
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()
        if self._replies >= 0:
            os.close(self._replies)
            self._replies = -1


def _last_lines(text: str) -> str:
    """As many as fit, in one line; of a last line that does not, its end."""
    lines = [flat for line in text.splitlines() if (flat := " ".join(line.split()))]
    last = " ".join(lines)
    while len(last) > _QUOTED and len(lines) > 1:
        last = " ".join(lines := lines[1:])
    return last if len(last) <= _QUOTED else f"…{last[-_QUOTED:]}"


def _drain(source: int, output: bytearray) -> None:
    """Read what is printed until nobody can print any more, and keep the end of it."""
    with os.fdopen(source, "rb", buffering=0) as pipe:
        while chunk := pipe.read(2**16):
            output += chunk
            if len(output) > 64 * _TAIL:
                del output[: -2 * _TAIL]


def _wait(descriptor: int, event: int, due: float) -> bool:
    poller = select.poll()
    poller.register(descriptor, event)
    return bool(poller.poll(max(due - time.monotonic(), 0.0) * 1000))


def _environment() -> dict[str, str]:
    """All of the parent's, as keys of services and caches of models need it, and its own path."""
    paths = os.pathsep.join(path or os.getcwd() for path in sys.path)
    return dict(os.environ) | {"PYTHONPATH": paths, "PYTHONUNBUFFERED": "1"}
