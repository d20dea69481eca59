"""One Ray cluster for all tests of a session."""

import os
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import pytest

# Threads that spin for a core another process holds cost more than they bring.
os.environ.setdefault("OMP_NUM_THREADS", "1")


def begin_ray(**options):
    """A cluster of Ray, which gives it 30 s to start: on a busy machine, once more."""
    import ray

    try:
        return ray.init(**options)
    except Exception as error:
        if type(error) is not Exception:  # that class itself where a node starts slowly
            raise
        ray.shutdown()
        return ray.init(**options)


@pytest.fixture(scope="session")
def cluster():
    """A local cluster with this process as its driver; addresses of head and dashboard."""
    import ray

    # A job's `python` is looked up by the cluster's PATH.
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    context = begin_ray(
        num_cpus=4,
        include_dashboard=True,
        object_store_memory=200_000_000,
        log_to_driver=False,
        logging_level="error",
    )
    yield {
        "head": context.address_info["gcs_address"],
        "dashboard": f"http://{context.dashboard_url}",
    }
    ray.shutdown()


START_S = 300.0


@pytest.fixture(scope="session")
def serving():
    """Runs `rlpeft serve` as a person does, with these options; its address, and its process."""

    @contextmanager
    def serve(*options, key="", log=None):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        command = [sys.executable, "-c", "from jobs.cli import main; main()", "serve"]
        command += [*map(str, options), "--port", str(port)]
        env = os.environ | {"RLPEFT_API_KEY": key}
        env.pop("VLLM_LOGGING_LEVEL", None)  # trl sets it in a process that imports it
        server = subprocess.Popen(command, env=env, stdout=log, stderr=log)
        try:
            wait_until_healthy(f"http://127.0.0.1:{port}", server)
            yield f"http://127.0.0.1:{port}", server
        finally:
            server.terminate()
            server.wait(60)

    return serve


def wait_until_healthy(url, server):
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        assert server.poll() is None, "the server ended"
        with suppress(OSError):  # of which urllib's are
            urllib.request.urlopen(f"{url}/health", timeout=60)
            return
        time.sleep(0.5)
    raise AssertionError("the server did not become healthy")


@pytest.fixture
def engines():
    """Lists the engine processes of this session's cluster, and of no other."""

    def find():
        found = []
        for child in psutil.Process().children(recursive=True):
            with suppress(psutil.NoSuchProcess):  # it may end while it is looked at
                # One that has ended stays a zombie until Ray asks after it.
                is_alive = child.status() != psutil.STATUS_ZOMBIE
                if is_alive and child.name().startswith("ray::EngineAct"):
                    found.append(child)
        return found

    return find


@pytest.fixture
def wait_for():
    """Waits until a condition holds."""

    def wait(condition, timeout_s=240.0):
        deadline = time.monotonic() + timeout_s
        while not condition():
            assert time.monotonic() < deadline, "waited in vain"
            time.sleep(0.2)

    return wait
