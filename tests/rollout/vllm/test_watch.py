"""No worker outlives its owner. No vLLM is needed."""

from __future__ import annotations

import subprocess
import sys

import psutil

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
