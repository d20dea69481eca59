"""Which ends of a driver are tried again."""

import signal
import sys

import pytest

from jobs.cluster.ending import MISTAKE, TRY_AGAIN
from jobs.cluster.retry import may_try_again, supervise

SCRIPT = """
import os, pathlib, sys
tries = pathlib.Path(sys.argv[1])
tries.write_text(tries.read_text() + "x" if tries.exists() else "x")
if len(tries.read_text()) < int(sys.argv[2]):
    os.kill(os.getpid(), 9)
"""


def command(tmp_path, ends_at):
    return [sys.executable, "-c", SCRIPT, str(tmp_path / "tries"), str(ends_at)]


def test_a_killed_driver_is_started_again(tmp_path):
    assert supervise(command(tmp_path, 3), retries=5, wait_s=0) == 0
    assert (tmp_path / "tries").read_text() == "xxx"


def test_tries_come_to_an_end(tmp_path):
    assert supervise(command(tmp_path, 99), retries=1, wait_s=0) == -signal.SIGKILL
    assert (tmp_path / "tries").read_text() == "xx"


@pytest.mark.parametrize("code", [0, MISTAKE, 2, -signal.SIGTERM, -signal.SIGINT])
def test_what_has_to_be_mended_or_was_asked_for_is_not_tried_again(code):
    assert not may_try_again(code)


@pytest.mark.parametrize("code", [TRY_AGAIN, -signal.SIGKILL, -signal.SIGSEGV])
def test_what_the_machine_did_is_tried_again(code):
    assert may_try_again(code)
