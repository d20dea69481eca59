"""A program that reads its input and prints its output, and what its output is worth."""

from __future__ import annotations

import atexit
import builtins
import os
import random
import sys
import threading
import types
from typing import Any

from rewards.code.pairs import same_output

_RAISED = "\0raised "
_SYNTAX_STATUS, _RAISED_STATUS = 3, 1
_PIPE_BYTES = 1 << 16


def run_script(source: str, preamble: str, text: str) -> None:
    """Execute `source` as a script that reads `text`; ends the process.

    Runs in the confined process of the program, so nothing here can be relied upon.
    """
    stdout = sys.stdout
    _feed(text.encode(errors="surrogateescape"))
    random.seed(0)
    prepare()
    module = types.ModuleType("__main__")
    sys.modules["__main__"] = module
    sys.argv = ["solution.py"]
    status, note = _execute(source, preamble, module.__dict__)
    for thread in threading.enumerate():
        if not thread.daemon and thread is not threading.main_thread():
            thread.join()
    atexit._run_exitfuncs()
    stdout.flush()
    if sys.stdout is not stdout:
        sys.stdout.flush()
    os.write(1, note.encode(errors="replace"))
    os._exit(status)


def prepare() -> None:
    """Give a program what it would find anywhere else.

    That is what `site`, which is not loaded here, adds to the built-ins, and integers of any
    length as text: how long they take is bounded by the processor time.
    """
    builtins.exit = builtins.quit = sys.exit  # type: ignore[assignment]
    sys.set_int_max_str_digits(0)


def _execute(source: str, preamble: str, namespace: dict[str, Any]) -> tuple[int, str]:
    try:
        exec(compile(preamble, "preamble.py", "exec", dont_inherit=True), namespace)
        code = compile(source, "solution.py", "exec", dont_inherit=True)
    except (SyntaxError, ValueError) as error:
        return _SYNTAX_STATUS, f"{_RAISED}{type(error).__name__}: {error}"
    try:
        exec(code, namespace)
    except SystemExit as error:
        return (error.code if isinstance(error.code, int) else bool(error.code)) & 255, ""
    except BaseException as error:
        return _RAISED_STATUS, f"{_RAISED}{type(error).__name__}: {error}"[:300]
    return 0, ""


def _feed(data: bytes) -> None:
    """Make `data` the standard input; what a pipe does not hold, a thread goes on writing."""
    read_fd, write_fd = os.pipe()
    os.dup2(read_fd, 0)
    os.close(read_fd)

    def write() -> None:
        with open(write_fd, "wb") as pipe:
            pipe.write(data)

    if len(data) < _PIPE_BYTES:
        write()
    else:
        threading.Thread(target=write, daemon=True).start()


def script_outcome(result: dict[str, Any], wanted: str) -> tuple[str, str]:
    """Return the outcome of one run, and a line about it."""
    outcome, printed = printed_by(result)
    if outcome != "printed":
        return outcome, printed
    if not same_output(printed, wanted):
        return "failed", f"printed {printed[:150]!r} instead of {wanted[:150]!r}"
    return "passed", ""


def printed_by(result: dict[str, Any]) -> tuple[str, str]:
    """Return `printed` and what a program printed, or how it failed and a line about it."""
    if result["outcome"] != "ran":
        return result["outcome"], result["detail"]
    _, mark, raised = result["detail"].rpartition(_RAISED)
    status = result["status"]
    if mark and status in (_SYNTAX_STATUS, _RAISED_STATUS):
        return ("syntax" if status == _SYNTAX_STATUS else "failed"), f"the program raised {raised}"
    if status:
        return "failed", f"the program ended with status {status}"
    return "printed", result["detail"]
