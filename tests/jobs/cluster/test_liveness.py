"""A driver whose head or raylet is gone ends with one line, and may be started again."""

import signal
import subprocess
import sys

import pytest

from jobs.cluster.ending import TRY_AGAIN

HEAD = """
import socket, threading, time
from jobs.cluster.liveness import Probe, watch

head, ended = socket.create_server(("127.0.0.1", 0)), threading.Event()
probe = Probe("the head", "127.0.0.1", head.getsockname()[1], 0.5, "Start it again.")
watching = threading.Thread(target=watch, args=(probe, ended))
watching.start()
{then}
time.sleep(300)
"""


def ended(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=500)


@pytest.mark.slow
def test_a_head_that_is_gone_ends_its_driver_with_one_line():
    done = ended(HEAD.format(then="time.sleep(1.5); print('alive', flush=True); head.close()"))
    assert done.returncode == TRY_AGAIN
    assert done.stdout == "alive\n"
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: the head must answer at 127.0.0.1:")
    assert line.endswith("Start it again.")


def test_a_head_that_ends_with_its_driver_is_not_missed():
    done = ended(HEAD.format(then="ended.set(); head.close(); watching.join(); exit(0)"))
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.slow
def test_a_head_that_a_signal_ends_with_its_driver_is_not_told():
    then = "from jobs.cluster.ending import ENDING; ENDING.set(); head.close()"
    done = ended(HEAD.format(then=then))
    assert (done.returncode, done.stderr) == (128 + signal.SIGTERM, "")


RAYLET = """
import sys
import time
import psutil
import ray
from jobs.cluster.driver_exit import begin_anew
from jobs.cluster.connect import connected, fetch, put, reserved, send
from jobs.cluster.driver_note import mine
from jobs.cluster.reaper import start_reaper

class Actor:
    def answer(self):
        return 1

def end(name):
    found = []
    while not found:  # agents are there a moment after their raylet
        family = psutil.Process().children(recursive=True)
        found = [c for c in family if f"{{c.name()}} {{' '.join(c.cmdline())}}".startswith(name)]
    for process in found:
        process.kill()
    psutil.wait_procs(found)

if mine() is None:
    sys.exit(begin_anew())
start_reaper()
with connected(None):
    actor = ray.remote(Actor).options(num_cpus=0).remote()
    assert fetch(send(actor.answer)) == 1
    asked, large = send(actor.answer), put(bytes(10**6))
    end({victim!r})
    {then}
"""


@pytest.fixture
def token(monkeypatch):
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    monkeypatch.setenv("RAY_AUTH_TOKEN", "0123456789abcdef" * 4)


@pytest.mark.ray
@pytest.mark.usefixtures("token")
@pytest.mark.parametrize("then", ["put(1)", "fetch(large)", "time.sleep(300)"])
def test_a_raylet_that_is_gone_ends_its_driver_with_one_line(then):
    done = ended(RAYLET.format(victim="raylet", then=then))
    assert done.returncode == TRY_AGAIN, done.stderr
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert done.stderr.startswith("note: starting Ray on this machine, for this run alone.")
    assert line.startswith("error: this machine's raylet must answer at ")
    assert "continues the run from its newest checkpoint" in line


@pytest.mark.ray
@pytest.mark.usefixtures("token")
@pytest.mark.parametrize("agent", ["DashboardAg", "RuntimeEnvAg"])
def test_an_agent_that_takes_the_raylet_along_is_named_in_one_line(agent):
    done = ended(RAYLET.format(victim=f"ray::{agent}", then="time.sleep(300)"))
    assert done.returncode == TRY_AGAIN, done.stderr
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert line.startswith("error: this machine's raylet must answer at ")
    assert "one Ray agent failed" in line
    assert "continues the run from its newest checkpoint" in line
