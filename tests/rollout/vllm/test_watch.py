"""No worker outlives its owner, and how a process ended is known. No vLLM is needed."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import threading
import time

import psutil

from rlpeft.rollout.vllm.watch import await_exit_codes

WORKER = "import sys, time; from rlpeft.rollout.vllm.watch import exit_with; "
WORKER += "exit_with(int(sys.argv[1])); print('watching', flush=True); time.sleep(600)"
OWNER = f"import os, subprocess, sys, time; worker = {WORKER!r}; "
OWNER += "p = subprocess.Popen([sys.executable, '-c', worker, str(os.getpid())], stdout=-1); "
OWNER += "p.stdout.readline(); print(p.pid, flush=True); time.sleep(600)"


def test_a_worker_ends_when_its_owner_is_killed() -> None:
    with subprocess.Popen([sys.executable, "-c", OWNER], stdout=subprocess.PIPE) as owner:
        assert owner.stdout is not None
        worker = psutil.Process(int(owner.stdout.readline()))
        assert worker.is_running()
        owner.kill()
    psutil.wait_procs([worker], timeout=120)
    assert not worker.is_running()


def test_an_exit_code_that_another_thread_has_just_taken_is_waited_for() -> None:
    process = multiprocessing.get_context("spawn").Process(target=time.sleep, args=(600,))
    process.start()
    process.kill()
    _, status = os.waitpid(process.pid or 0, 0)  # as `Popen.poll` does in a thread of vLLM's
    process.join(1)
    assert process.exitcode is None  # what made the wait necessary
    code, popen = os.waitstatus_to_exitcode(status), process._popen  # type: ignore[attr-defined]
    threading.Timer(0.2, setattr, (popen, "returncode", code)).start()
    await_exit_codes([process], timeout_s=60)
    assert process.exitcode == -9


def test_an_exit_code_that_nobody_knows_is_not_waited_for_without_end() -> None:
    process = multiprocessing.get_context("spawn").Process(target=time.sleep, args=(600,))
    process.start()
    await_exit_codes([process], timeout_s=0.1)
    assert process.exitcode is None
    process.kill()
    process.join()
