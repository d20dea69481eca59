"""A submitted run whose cluster goes under has the cause in its log, in one line."""

import os
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import psutil
import pytest

from jobs.cluster.submit import Work, submit
from rlpeft.errors import ClusterError

HOST = """
import sys, time
import ray
context = ray.init(
    num_cpus=4,
    include_dashboard=True,
    object_store_memory=2 * 10**8,
    log_to_driver=False,
    # Ray gives its jobs the address of the youngest cluster in this folder.
    _temp_dir=sys.argv[1],
)
print(f"http://{context.dashboard_url}", context.address_info["session_dir"], flush=True)
sys.stdin.read()
"""

NAMED = {
    "raylet": "this machine's raylet must answer",
    "gcs_server": "the Ray cluster's head must answer",
    "ray::DashboardAg": "one Ray agent failed, agent_name = dashboard_agent",
    "ray::RuntimeEnvAg": "one Ray agent failed, agent_name = runtime_env_agent",
}
"""Processes, and what the line says where they were killed."""


@pytest.fixture
def cluster(monkeypatch):
    """A cluster of its own: its process, its dashboard's address, its folder."""
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    monkeypatch.setenv("RAY_AUTH_TOKEN", "0123456789abcdef" * 4)
    # A job's `python` is looked up by the cluster's PATH.
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    with TemporaryDirectory(prefix="ray", dir="/tmp") as place:  # short: it has sockets in it
        host = psutil.Popen(
            [sys.executable, "-c", HOST, place],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        address, folder = host.stdout.readline().split()
        yield host, address, Path(folder)
        host.communicate()


def waited(condition, timeout_s=300):
    deadline = time.monotonic() + timeout_s
    while not (found := condition()):
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.2)
    return found


@pytest.mark.campaign
@pytest.mark.ray
@pytest.mark.parametrize(
    "victim", ["raylet", "gcs_server", "ray::DashboardAg", "ray::RuntimeEnvAg"]
)
def test_a_job_whose_cluster_dies_tells_of_it_in_its_log(victim, cluster, tmp_path):
    host, address, folder = cluster
    out, words = tmp_path / "run", ("train", "quickstart", "--set", "train.steps=100000")

    def sent():
        with suppress(ClusterError):  # a dashboard on a busy machine has no agent for long
            return submit(Work(words, "quickstart"), address=address, out=out)[0]

    job = waited(sent)
    log = folder / "logs" / f"job-driver-{job}.log"
    waited(lambda: (out / "metrics.jsonl").is_file() and (out / "metrics.jsonl").read_text())
    for process in host.children(recursive=True):
        if process.name().startswith(victim[:15]):
            process.kill()

    def told():
        return [line for line in log.read_text().splitlines() if line.startswith("error: ")]

    waited(told)
    time.sleep(5)  # for a second line, if there is one
    (line,) = told()
    assert NAMED[victim] in line
    assert line.endswith("the same command continues the run from its newest checkpoint.")
