"""How a driver ended, told by its parent: Ray and signals end one without a word.

A driver that uses Ray is a child of the process that the user started. That one waits for it,
hands signals on and ends as it does; where Ray or a signal ended it, it says so in one line, and
where Ray did, with the code that says that the same command may succeed.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from tempfile import TemporaryFile

from jobs.cluster.driver_note import (
    GO_ON,
    INTERVAL_S,
    VARIABLE,
    Note,
    NoteFile,
    mine,
    missing,
    tell,
)
from rlpeft.shadow import is_our_program

MISTAKE, TRY_AGAIN = 1, 75
"""Exit codes: something has to be mended; the cluster failed and the same command may succeed."""

QUIETED = {
    "RAY_DEDUP_LOGS_SKIP_REGEX": "Raylet is terminated|has been marked dead|A worker died or was"
}
"""Keeps what Ray prints of a lost raylet or worker off the driver's output: we tell it ourselves,
on the error stream, and `--json` prints nothing but its document."""

FIRST_WORD_S, EVERY_S, JOIN_LIMIT_S = 3.0, 15.0, 90.0
"""A wait for a cluster is told of after the first, then again and again, and ended by the last."""

ENDINGS = (signal.SIGTERM, signal.SIGINT)


def go_on_attended() -> None:
    """Run this very command in a child and end as it does; returns in the child alone.

    There it begins anew, so this is called before any work. A program that is not ours, such as
    a notebook, cannot be begun anew: it goes on itself.
    """
    if mine() is None and is_our_program(sys.argv[0]):
        sys.exit(begin_anew())
    from jobs.cluster.reaper import start_reaper  # needs psutil, which --help does not wait for

    start_reaper()  # a killed driver leaves processes of the Ray it started


def begin_anew() -> int:
    """Run this very command in a child; the exit code."""
    return _exit_code(attend([sys.executable, *sys.orig_argv[1:]]))


def attend(command: Sequence[str | os.PathLike[str]]) -> int:
    """Run a driver as a child; what it could not tell of its end is told here.

    Returns:
        Its exit code, that of a signal negative; `TRY_AGAIN` where Ray ended it.

    Raises:
        SystemExit: this process was asked to end, and the child has ended.
    """
    with TemporaryFile(buffering=0) as file:
        note, asked = NoteFile(file.fileno()), list[int]()
        os.set_inheritable(note.descriptor, True)
        with _forwarding(asked) as children:
            # In a group of its own, it gets each signal once, from here. Other files stay open:
            # it is what this process would have become.
            child = subprocess.Popen(
                command,
                env=QUIETED | os.environ | {VARIABLE: str(note.descriptor)},
                close_fds=False,
                process_group=0,
            )
            children.append(child)
            for number in asked:  # before there was anybody to hand it to
                child.send_signal(number)
            ended = threading.Event()
            threading.Thread(target=_bound_joins, args=(child, note, ended), daemon=True).start()
            code = _explained(child.wait(), note)
            ended.set()
    if signal.SIGTERM in asked:
        sys.exit(_exit_code(code))
    return code


def _bound_joins(child: subprocess.Popen[bytes], file: NoteFile, ended: threading.Event) -> None:
    """Tell of a cluster for which the child waits long, and end a wait that is too long."""
    waited_s, told_s = 0.0, FIRST_WORD_S - EVERY_S
    while not ended.wait(INTERVAL_S):
        note = file.read()
        if note is None or not note.joining:
            waited_s, told_s = 0.0, FIRST_WORD_S - EVERY_S
            continue
        waited_s += INTERVAL_S
        if waited_s > JOIN_LIMIT_S:
            line = f"error: {note.joining} must be joined within {JOIN_LIMIT_S:.0f} s. {note.mend}"
            file.write(Note(line=line))
            child.kill()
        elif waited_s >= told_s + EVERY_S:
            told_s = waited_s
            tell(f"waiting for {note.joining} since {waited_s:.0f} s")


def _exit_code(code: int) -> int:
    """As shells have it, where a signal's number is added to 128."""
    return code if code >= 0 else 128 - code


@contextmanager
def _forwarding(asked: list[int]) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Hand the signals that end or suspend this process on to the child that is put into it."""
    children: list[subprocess.Popen[bytes]] = []

    def end(number: int, frame: object) -> None:
        asked.append(number)
        for child in children:
            child.send_signal(number)

    def suspend(number: int, frame: object) -> None:
        for child in children:
            child.send_signal(signal.SIGSTOP)
        os.kill(os.getpid(), signal.SIGSTOP)  # stays here until somebody wants it to go on
        for child in children:
            child.send_signal(signal.SIGCONT)

    handlers = dict.fromkeys(ENDINGS, end) | {signal.SIGTSTP: suspend}
    # What this process was started to ignore, as by nohup, the child ignores, too.
    heeded = {n: h for n, h in handlers.items() if signal.getsignal(n) != signal.SIG_IGN}
    before = {number: signal.signal(number, handler) for number, handler in heeded.items()}
    try:
        yield children
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _explained(code: int, file: NoteFile) -> int:
    """Tell what a driver that ended with this code could not, and correct the code."""
    note = file.read()
    if note is None and code >= 0:
        return code
    line = _cause(code, note or Note())
    file.write(None)  # the reaper tells what nobody has
    tell(line)
    return code if code < 0 and not (note and note.line) else TRY_AGAIN


def _cause(code: int, note: Note) -> str:
    if code >= 0 and note.joining:
        return f"error: {note.joining} must take drivers, it let Ray end this one. {note.mend}"
    if code >= 0:
        return missing(note) or (
            "error: Ray must let its drivers live, it ended this one without a word, with code "
            f"{code}. Look at memory and at Ray's logs on this machine; {GO_ON}"
        )
    # Ray that the driver started has ended with it, whoever was first.
    lost = None if note.are_ours else missing(note, patience_s=0)
    name = signal.Signals(-code).name
    return (
        note.line
        or lost
        or (
            f"error: the driver must be left to end by itself, {name} ended it. Look at memory if "
            f"nobody sent that signal; {GO_ON}"
        )
    )
