import asyncio
import os
import subprocess
import sys
import threading
import time

import psutil
import pytest

from rewards.errors import RewardError
from rewards.workers.pool import Reply, WorkerPool

HANDLERS = """
import os, sys, time

def echo(request):
    print("this goes nowhere")
    return request

def act(request):
    if request == "hang":
        while True:
            pass
    if request == "sleep":
        time.sleep(60)
    if request == "compute":
        begun = time.process_time()
        while time.process_time() - begun < 0.4:
            pass
    if request == "raise":
        raise KeyError("no such thing")
    if request == "exit":
        os._exit(3)
    if request == "memory":
        return len(bytearray(8 * 2**30))
    if request == "write":
        with open(__file__ + ".proof", "w") as file:
            file.write("x")
    if request == "environment":
        return sorted(os.environ)
    if request == "flood":
        return "x" * (4 * 2**20)
    if request == "child":
        import subprocess
        subprocess.Popen(["sleep", "613"])
        time.sleep(60)
    return os.getpid()
"""


@pytest.fixture
def handlers(tmp_path, monkeypatch):
    (tmp_path / "pool_handlers.py").write_text(HANDLERS)
    monkeypatch.syspath_prepend(str(tmp_path))
    return "pool_handlers"


@pytest.fixture
def pool(handlers):
    with WorkerPool(f"{handlers}:act", num_workers=2, deadline_s=0.5, memory_mb=512) as pool:
        yield pool


def alive(pid):
    """Whether the process runs: a zombie still has a pid but no command line."""
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            return bool(file.read())
    except OSError:
        return False


def test_replies_keep_the_order_of_requests(handlers):
    with WorkerPool(f"{handlers}:echo", num_workers=2) as pool:
        requests = [{"n": n, "text": "é\n" * n} for n in range(50)]
        assert pool.map(requests) == [Reply("value", request) for request in requests]


@pytest.mark.slow
def test_a_hanging_request_is_killed_at_its_deadline_and_costs_only_itself(pool):
    pool.map(["warm"])
    kinds = [reply.kind for reply in pool.map(["a", "hang", "b", "sleep", "c"])]
    assert kinds == ["value", "timeout", "value", "timeout", "value"]


@pytest.fixture
def one_processor():
    """Leaves this process, and what it starts, one processor."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    yield
    os.sched_setaffinity(0, before)


@pytest.mark.slow
def test_a_request_that_waits_for_a_processor_is_given_its_time(handlers, one_processor):
    """Six share one processor: each needs 0.4 of its 0.5 s, and ends after 2.4 by the clock."""
    with WorkerPool(f"{handlers}:act", num_workers=6, deadline_s=0.5) as pool:
        pool.map(["warm"] * 6)
        kinds = [reply.kind for reply in pool.map(["compute"] * 5 + ["hang"])]
    assert kinds == ["value"] * 5 + ["timeout"]


@pytest.mark.slow
def test_killed_workers_are_replaced_and_leave_no_zombie(pool):
    before = {reply.value for reply in pool.map(["pid"] * 8)}
    for _ in range(3):
        pool.map(["hang", "hang"])
    after = {reply.value for reply in pool.map(["pid"] * 8)}
    assert len(pool.pids) == 2
    assert not before & after
    assert [pid for pid in before if alive(pid)] == []
    for pid in before:
        with pytest.raises(ChildProcessError):  # reaped already
            os.waitpid(pid, os.WNOHANG)


def test_a_killed_worker_takes_its_children_with_it(pool):
    pool.map(["child"])
    due = time.monotonic() + 60.0
    while (left := commands().count(["sleep", "613"])) and time.monotonic() < due:
        time.sleep(0.1)
    assert left == 0


def commands():
    """Those of all processes that run."""
    return [process.info["cmdline"] for process in psutil.process_iter(["cmdline"])]


@pytest.mark.parametrize(
    ("request_", "reason"),
    [("raise", "KeyError"), ("exit", "died"), ("memory", "MemoryError"), ("flood", "died")],
)
def test_a_failing_handler_is_an_error_and_never_a_value(pool, request_, reason):
    reply, after = pool.map([request_, "pid"])
    assert reply.kind == "error"
    assert reason in reply.value
    assert after.kind == "value"


def test_workers_cannot_write_files_and_see_no_environment(pool, monkeypatch):
    monkeypatch.setenv("SECRET_TOKEN", "hush")
    written, environment = pool.map(["write", "environment"])
    assert written.kind == "error"
    assert "SECRET_TOKEN" not in environment.value


def test_workers_are_recycled(handlers):
    with WorkerPool(f"{handlers}:act", num_workers=1, recycle_after=2) as pool:
        pids = [reply.value for reply in pool.map(["pid"] * 6)]
    assert len(set(pids)) == 3


def test_closing_ends_the_workers_and_the_pool_can_be_used_again(pool):
    pids = {reply.value for reply in pool.map(["pid"] * 4)}
    pool.close()
    assert [pid for pid in pids if alive(pid)] == []
    assert pool.map(["pid"])[0].kind == "value"


@pytest.mark.slow
def test_workers_end_when_their_parent_is_killed(handlers, tmp_path):
    program = f"""
import os, signal, sys, threading, time
sys.path.insert(0, {str(tmp_path)!r})
from rewards.workers.pool import WorkerPool
pool = WorkerPool("{handlers}:act", num_workers=2, deadline_s=1.0)
pids = set()
while len(pids) < 2:  # the second worker may still be starting
    pids |= {{reply.value for reply in pool.map(["pid"] * 8)}}
threading.Thread(target=pool.map, args=(["hang"],), daemon=True).start()
time.sleep(0.3)
print(*pids, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    pids = [int(word) for word in done.stdout.split()]
    assert len(pids) == 2
    due = time.monotonic() + 60.0  # the limit counts processor time
    while any(map(alive, pids)) and time.monotonic() < due:
        time.sleep(0.1)
    assert [pid for pid in pids if alive(pid)] == []


@pytest.mark.slow
def test_threads_and_asyncio_share_one_pool(pool):
    replies = []
    threads = [
        threading.Thread(target=lambda: replies.extend(pool.map(["a", "hang", "b"])))
        for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    replies += asyncio.run(asyncio.to_thread(pool.map, ["a", "hang", "b"]))
    assert sorted(reply.kind for reply in replies) == ["timeout"] * 4 + ["value"] * 8


def test_a_handler_that_cannot_be_imported_is_named():
    pool = WorkerPool("no_such_module:handler", num_workers=1)
    with pool, pytest.raises(RewardError, match="no_such_module:handler"):
        pool.map(["x"])


def test_impossible_sizes_are_refused():
    with pytest.raises(RewardError, match="num_workers"):
        WorkerPool("m:f", num_workers=0)
    with pytest.raises(RewardError, match="deadline_s"):
        WorkerPool("m:f", deadline_s=0)
