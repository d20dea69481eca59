"""Whatever ends a driver that uses Ray, one line tells of it, and the command ends as it did."""

import os
import signal
import socket
import subprocess
import sys
import time

import psutil
import pytest

from jobs.cluster.driver_exit import MISTAKE, TRY_AGAIN
from jobs.cluster.driver_note import GO_ON

DRIVER = """
import os, signal, sys, time
from jobs.cluster.driver_exit import begin_anew
from jobs.cluster.driver_note import Probe, Note, dependent, keep, mine
from jobs.cluster.reaper import start_reaper

if mine() is None:
    sys.exit(begin_anew())
start_reaper()
port, log = int(sys.argv[1]), sys.argv[2]
raylet = Probe("this machine's raylet", "127.0.0.1", port, 1, "Look at memory.", log)
print(os.getpid(), flush=True)
{then}
"""
"""Its arguments are those of the probe."""


@pytest.fixture
def raylet():
    """The port of something that answers as a raylet does."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


@pytest.fixture
def gone():
    """A port at which nothing answers."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        yield free.getsockname()[1]


def started(then, port, tmp_path, *, before="", **options):
    """A command whose driver does this; what it tells goes to a file."""
    with (tmp_path / "told").open("wb") as told:
        return psutil.Popen(
            [
                sys.executable,
                "-c",
                before + DRIVER.format(then=then),
                str(port),
                str(tmp_path / "raylet.err"),
            ],
            stdout=subprocess.PIPE,
            stderr=told,
            # Tests that run behind a shell inherit a SIGINT that is ignored.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
            **options,
        )


def ended(then, port, tmp_path, *, before=""):
    """The exit code of such a command, and the lines it tells; `before` runs in its parent, too."""
    process = started(then, port, tmp_path, before=before)
    process.stdout.read()
    return process.wait(300), told(tmp_path)


def told(tmp_path):
    return (tmp_path / "told").read_text().splitlines()


RAY_ENDS_IT = "keep(Note((raylet,)))\nos._exit(1)"


def test_a_driver_that_ray_ends_without_a_word_is_told_of_with_the_cause(gone, tmp_path):
    code, (line,) = ended(RAY_ENDS_IT, gone, tmp_path)
    assert code == TRY_AGAIN
    assert line.startswith(f"error: this machine's raylet must answer at 127.0.0.1:{gone}")
    assert line.endswith("Look at memory.")


@pytest.mark.slow
def test_a_raylet_that_an_agent_took_along_is_told_of_with_that_agent(gone, tmp_path):
    (tmp_path / "raylet.err").write_text(
        "[2026 E 1 2] (raylet) agent_manager.cc:87: The raylet exited immediately because one Ray "
        "agent failed, agent_name = runtime_env_agent.\nThe raylet fate shares with the agent.\n"
    )
    _, (line,) = ended(RAY_ENDS_IT, gone, tmp_path)
    assert ": one Ray agent failed, agent_name = runtime_env_agent. Look at memory." in line


@pytest.mark.slow
def test_a_raylet_that_closes_after_its_driver_is_waited_for(raylet, tmp_path):
    process = started(RAY_ENDS_IT, raylet.getsockname()[1], tmp_path)
    process.stdout.readline()
    time.sleep(1)
    raylet.close()
    assert process.wait(300) == TRY_AGAIN
    (line,) = told(tmp_path)
    assert line.startswith("error: this machine's raylet must answer at ")


@pytest.mark.slow
@pytest.mark.parametrize(("then", "code"), [("os._exit(1)", MISTAKE), ("pass", 0)])
def test_a_driver_that_ends_by_itself_tells_of_it_itself(then, code, gone, tmp_path):
    before = f"with dependent():\n    keep(Note((raylet,)))\n{then}"
    assert ended(before, gone, tmp_path) == (code, [])


@pytest.mark.slow
def test_a_line_that_a_driver_could_not_tell_any_more_is_told(gone, tmp_path):
    then = 'keep(Note(line="error: it was so."), last=True)\nkeep(None)\nos._exit(75)'
    assert ended(then, gone, tmp_path) == (TRY_AGAIN, ["error: it was so."])


@pytest.mark.slow
def test_a_driver_that_is_killed_is_told_of(raylet, tmp_path):
    then = "keep(Note((raylet,), True))\nos.kill(os.getpid(), signal.SIGKILL)"
    code, (line,) = ended(then, raylet.getsockname()[1], tmp_path)
    assert code == 128 + signal.SIGKILL
    assert "SIGKILL" in line
    assert line.endswith(GO_ON)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT"])
def test_a_signal_to_the_command_reaches_its_driver_once(name, gone, tmp_path):
    then = f"seen = []; signal.signal(signal.{name}, lambda *_: seen.append(print('x')))"
    then += "\nprint('on', flush=True)\nwhile not seen: time.sleep(0.1)"
    then += "\ntime.sleep(2)  # for a second one, if there is one"
    process = started(then, gone, tmp_path, start_new_session=True)
    assert process.stdout.readline()
    assert process.stdout.readline() == b"on\n"
    os.killpg(process.pid, signal.Signals[name])  # as a terminal and as Ray's jobs do
    assert process.stdout.read() == b"x\n"
    assert (process.wait(300), told(tmp_path)) == (0, [])


def wait_for(is_so):
    deadline = time.monotonic() + 300
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_a_command_that_is_killed_takes_its_driver_along(raylet, tmp_path):
    then = "keep(Note((raylet,)))\ntime.sleep(300)"
    process = started(then, raylet.getsockname()[1], tmp_path)
    driver = psutil.Process(int(process.stdout.readline()))
    process.kill()
    wait_for(lambda: not driver.is_running() or driver.status() == psutil.STATUS_ZOMBIE)
    process.wait()


@pytest.mark.slow
def test_a_cluster_that_is_gone_with_the_command_and_its_driver_is_told_of(gone, tmp_path):
    process = started("keep(Note((raylet,)))\ntime.sleep(300)", gone, tmp_path)
    process.stdout.readline()
    process.kill()  # as Ray kills the group of a job that it has lost
    process.wait()
    wait_for(lambda: told(tmp_path))
    process.stdout.read()  # until the reaper has ended, too
    (line,) = told(tmp_path)
    assert line.startswith("error: this machine's raylet must answer at ")


FAMILY = """
import subprocess
family = [subprocess.Popen(["sleep", "300"]) for _ in range(50)]
keep(Note((raylet,), True))
print("on", flush=True)
os.wait()
keep(Note(line="error: something of mine has ended."), last=True)
os._exit(75)
"""


@pytest.mark.slow
def test_a_driver_does_not_tell_of_what_its_reaper_ends(raylet, tmp_path):
    process = started(FAMILY, raylet.getsockname()[1], tmp_path)
    process.stdout.readline()
    process.stdout.readline()
    time.sleep(2)  # until the reaper has seen them all
    process.kill()
    process.stdout.read()  # until the reaper has ended, too
    process.wait()
    assert told(tmp_path) == []


@pytest.mark.slow
def test_a_cluster_that_is_waited_for_is_told_of_and_the_wait_is_bounded(tmp_path):
    then = 'keep(Note(joining="the cluster at h:1,", mend="Do that."))\ntime.sleep(60)'
    soon = "import jobs.cluster.driver_exit as d\nd.FIRST_WORD_S, d.JOIN_LIMIT_S = 1, 2\n"
    code, lines = ended(then, 0, tmp_path, before=soon)
    assert code == TRY_AGAIN
    assert lines == [
        "waiting for the cluster at h:1, since 1 s",
        "error: the cluster at h:1, must be joined within 2 s. Do that.",
    ]


@pytest.mark.slow
def test_a_cluster_that_is_waited_for_is_named_where_ray_ends_the_driver(tmp_path):
    then = 'keep(Note(joining="the cluster at h:1,", mend="Do that."))\nos._exit(1)'
    code, [line] = ended(then, 0, tmp_path)
    assert code == TRY_AGAIN
    assert line == "error: the cluster at h:1, must take drivers, it let Ray end this one. Do that."
