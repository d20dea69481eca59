"""What a killed process started ends with it, however it was started."""

import signal
import subprocess
import sys
import time

import psutil
import pytest

from jobs.cluster import reaper

SLEEP = "import time; time.sleep(300)"

PARENT = f"""
import subprocess, sys, time
from jobs.cluster.reaper import start_reaper

start_reaper()
time.sleep(float(sys.argv[2]))
if sys.argv[1] == "child":
    process = subprocess.Popen([sys.executable, "-c", {SLEEP!r}])
    print(process.pid, flush=True)
else:  # one whose own parent ends at once, in a session of its own: nobody's descendant
    between = "import subprocess, sys; print(subprocess.Popen([sys.executable, '-c', " \\
        "{SLEEP!r}], start_new_session=True, stdout=subprocess.DEVNULL).pid, flush=True)"
    subprocess.run([sys.executable, "-c", between], check=True)
time.sleep(300)
"""


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["child", "orphan"])
@pytest.mark.parametrize("after_s", [0.0, 1.0])
def test_a_descendant_ends_with_a_process_that_is_killed(kind, after_s):
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, kind, str(after_s)], stdout=subprocess.PIPE, text=True
    )
    descendant = psutil.Process(int(parent.stdout.readline()))
    parent.send_signal(signal.SIGKILL)  # before any look could see the newborn
    parent.wait()
    try:
        _, alive = psutil.wait_procs([descendant], timeout=250)
        assert not alive
    finally:
        parent.stdout.close()
        if descendant.is_running():
            descendant.kill()


def test_a_process_without_the_mark_is_let_alone():
    other = subprocess.Popen([sys.executable, "-c", SLEEP])
    try:
        assert psutil.Process(other.pid) not in reaper.marked("0" * 32)
    finally:
        other.kill()
        other.wait()


def test_a_process_watched_from_within_a_watched_one_carries_both_marks(monkeypatch):
    monkeypatch.setenv(reaper.VARIABLE, ":outer:inner")
    child = subprocess.Popen([sys.executable, "-c", SLEEP])
    try:
        time.sleep(0.2)
        process = psutil.Process(child.pid)
        assert process in reaper.marked("outer")
        assert process in reaper.marked("inner")
    finally:
        child.kill()
        child.wait()


@pytest.mark.slow
def test_a_process_has_one_reaper_however_many_runs_it_makes():
    program = (
        "import psutil\nfrom jobs.cluster.reaper import start_reaper\n"
        "start_reaper()\nstart_reaper()\n"
        "print(len(psutil.Process().children()))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, check=True
    )
    assert done.stdout == "1\n"
