"""Death at a chosen moment: before the n-th change of a file, in a process of its own."""

import os
import sys
import traceback

import pytest

CHANGES = frozenset(
    (
        "open",
        "os.chmod",
        "os.link",
        "os.mkdir",
        "os.remove",
        "os.rename",
        "os.rmdir",
        "os.symlink",
        "os.truncate",
    )
)
"""Audit events that Python raises before it changes a file system."""

WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT
DIED, FINISHED, FAILED = 137, 0, 1


@pytest.fixture(scope="session")
def die_at():
    """Runs an action in a fork that dies before its n-th change of files; tells how it ended.

    A process that dies runs nothing any more: no `finally`, no clean-up, no flush.
    """

    def run(number, action):
        pid = os.fork()
        if pid == 0:
            try:
                _die_before(number)
                action()
            except BaseException:
                traceback.print_exc()
                os._exit(FAILED)
            os._exit(FINISHED)
        _, status = os.waitpid(pid, 0)
        ended = os.waitstatus_to_exitcode(status)
        assert ended != FAILED, "the action failed for another reason than its death"
        return ended

    return run


@pytest.fixture(scope="session")
def each_death(die_at):
    """Runs an action again and again, dying one change later each time, until it gets through.

    Args of what it gives: `prepare`, called before each try; `action`; `check`, called after each.
    """

    def walk(prepare, action, check, *, stride=1):
        number = 1
        while True:
            prepare()
            ended = die_at(number, action)
            check()
            if ended == FINISHED:
                return number - 1
            number += stride

    return walk


def _die_before(number):
    left = number

    def hook(event, arguments):
        nonlocal left
        if event not in CHANGES or (event == "open" and not _writes(arguments)):
            return
        left -= 1
        if left == 0:
            os._exit(DIED)

    sys.addaudithook(hook)


def _writes(arguments):
    path, _, flags = arguments
    return bool(flags & WRITING) and not str(path).startswith(("/dev/", "/proc/"))
