"""Ends what a killed process leaves behind: its children, and theirs.

    python -m jobs.cluster.reaper PID MARK [NOTE PARENT]

An engine or a driver that was killed cannot end its own child processes, and Ray does not end
all of them: they would hold their memory, or a GPU, for ever. A reaper is a child of such a
process and knows the others in two ways: it sees its descendants while it lives, and all that
were started after the reaper carry a mark in their environment. The mark finds those that were
born between two looks, or that lost their parent before one; the looks find those that write over
their environment, as Ray's agents do once they are up.

That of a driver that a parent attends to reads the driver's note, too: where both are killed, as
on a cluster that is gone, it tells of the cause.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
import uuid
from contextlib import suppress
from functools import cache

import psutil

from jobs.cluster.driver_note import NoteFile, mine, missing, tell

INTERVAL_S = 0.3
"""Time between two looks: less than Ray's agents take from their birth to their own name."""

LOOKS = 3
"""Looks in a row that must find nobody: one that is being killed may just be starting another."""

END_S = 10.0
"""How long a process that is killed may take to end."""

VARIABLE = "RLPEFT_REAPED_BY"


def start_reaper() -> None:
    """Start a reaper for this process, once; it ends soon after this process does."""
    _start(os.getpid())


@cache
def _start(pid: int) -> None:
    mark = uuid.uuid4().hex
    note = mine()
    held = () if note is None else (note.descriptor,)
    attended = [str(number) for number in (*held, os.getppid())] if held else []
    # In a session of its own, a signal to this process's group does not reach it.
    subprocess.Popen(
        [sys.executable, "-m", "jobs.cluster.reaper", str(pid), mark, *attended],
        pass_fds=held,
        start_new_session=True,
        stdin=subprocess.DEVNULL,
        env={name: value for name, value in os.environ.items() if name != VARIABLE},
    )
    # What a process inside a watched one starts belongs to both.
    os.environ[VARIABLE] = f"{os.environ.get(VARIABLE, '')}:{mark}"


def reap(pid: int, mark: str, note: NoteFile | None = None, attendant: int = 0) -> None:
    """Wait until the parent `pid` is gone, then kill its descendants and whoever has its mark.

    Args:
        note: what the parent depends on, if it has an attendant.
        attendant: the parent's own parent; when it is gone, the parent is killed, too.
    """
    parent, keeper = _process(pid), _process(attendant)
    seen = set() if parent is None else {parent}
    while os.getppid() == pid and (note is None or _lives(keeper)):
        seen.update(_descendants(pid))
        time.sleep(INTERVAL_S)
    if parent is not None:
        _end_first(parent)
    _end(seen, mark)
    if note is not None:
        _tell_for(keeper, note)


def _end_first(parent: psutil.Process) -> None:
    """Kill one whose attendant is gone: it would take the end of the others for a cause."""
    with suppress(psutil.NoSuchProcess):
        parent.kill()
    deadline = time.monotonic() + END_S
    while _lives(parent) and time.monotonic() < deadline:
        time.sleep(0.01)


def _tell_for(attendant: psutil.Process | None, file: NoteFile) -> None:
    """Tell of the cause if the attendant has gone without telling of it."""
    while (note := file.read()) is not None and _lives(attendant):
        time.sleep(INTERVAL_S)
    if note is None or (note.are_ours and not note.line):
        return
    if (line := missing(note)) is not None:
        tell(line)


def _end(seen: set[psutil.Process], mark: str) -> None:
    """Kill them, what they start meanwhile, and all others with the mark."""
    quiet_looks = 0
    while quiet_looks < LOOKS:
        left = [process for process in seen | marked(mark) if _lives(process)]
        for process in left:
            seen.update(_descendants(process.pid))
            with suppress(psutil.NoSuchProcess):
                process.kill()
        quiet_looks = 0 if left else quiet_looks + 1
        time.sleep(INTERVAL_S)


def marked(mark: str) -> set[psutil.Process]:
    """Processes that were started with this mark in their environment."""
    found = set()
    for process in psutil.process_iter():
        # Other users' processes do not show their environment, and some end while we look.
        with suppress(psutil.Error, OSError):
            if mark in process.environ().get(VARIABLE, ""):
                found.add(process)
    return found


def _process(pid: int) -> psutil.Process | None:
    with suppress(psutil.NoSuchProcess):
        return psutil.Process(pid)
    return None


def _lives(process: psutil.Process | None) -> bool:
    if process is None:
        return False
    # psutil compares start times, so a pid that was given anew is left alone.
    with suppress(psutil.Error):
        is_other = process.pid != os.getpid() and process.is_running()
        return is_other and process.status() != psutil.STATUS_ZOMBIE
    return False


def _descendants(pid: int) -> list[psutil.Process]:
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


if __name__ == "__main__":
    numbers = [int(number) for number in sys.argv[3:]]
    reap(int(sys.argv[1]), sys.argv[2], *([NoteFile(numbers[0]), numbers[1]] if numbers else ()))
