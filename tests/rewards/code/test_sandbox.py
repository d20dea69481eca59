import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from rewards.code.confine import missing_protections
from rewards.code.sandbox import Job, Sandbox

ATTEMPT = """
def attempt():
    try:
        {action}
    except BaseException as error:
        return "refused: " + type(error).__name__
    return "done"
"""

# Each action would return "done" in an ordinary interpreter.
ESCAPES = {
    "tcp socket": "import socket; socket.socket()",
    "unix socket pair": "import socket; socket.socketpair()",
    "fork": "import os; os.fork()",
    "shell": "import os; assert os.system('true') == 0",
    "subprocess": "import subprocess; subprocess.run(['/bin/true'], check=True)",
    "exec": "import os; os.execv('/bin/true', ['true'])",
    "signal to the parent": "import os; os.kill(os.getppid(), 0)",
    "signal to init": "import os; os.kill(1, 0)",
    "signal to its group": "import os; os.killpg(0, 0)",
    "read the password file": "open('/etc/passwd').read()",
    "read the parent's environment": "import os; open(f'/proc/{os.getppid()}/environ','rb').read()",
    "read its own memory map": "open('/proc/self/maps').read()",
    "list the root folder": "import os; os.listdir('/')",
    "write in the temporary root": "open('/tmp/sandbox-escape', 'w')",
    "write in the parent folder": "open('../escape', 'w')",
    "make a folder": "import os; os.mkdir('inner')",
    "link out of the folder": "import os; os.symlink('/etc/passwd', 'link')",
    "change permissions": "import os; os.chmod('/tmp', 0o777)",
    "change times": "import os; os.utime('/tmp')",
    "raise its limits": "import resource; resource.setrlimit(resource.RLIMIT_CPU, (999, 999))",
    "limit another process": "import resource as r, os; r.prlimit(os.getppid(), r.RLIMIT_CPU)",
    "signals on its pipe to another": "import fcntl; fcntl.fcntl(0, fcntl.F_SETOWN, 1)",
    "another signal for its pipe": "import fcntl; fcntl.fcntl(0, fcntl.F_SETSIG, 9)",
    "a file that cannot be removed": (
        "import fcntl; fcntl.ioctl(open('kept', 'w'), 0x40086602, (16).to_bytes(8, 'little'))"
    ),
    "shared memory of others": (
        "import ctypes; assert ctypes.CDLL(None, use_errno=True).shmat(0, None, 0) != -1"
        " or ctypes.get_errno() != 1"
    ),
    "anonymous memory file": "import os; os.memfd_create('x')",
    "big file": "open('big', 'wb').write(bytes(3 << 20))",
}


@pytest.fixture(scope="module")
def sandbox():
    sandbox = Sandbox(num_workers=2)
    yield sandbox
    sandbox.close()


def run(sandbox, source, *tests, **options):
    return sandbox.run(Job(source, tests, **{"cpu_s": 2, "wall_s": 60.0} | options))


def test_a_right_program_passes(sandbox):
    outcome = run(sandbox, "def add(a, b): return a + b", "assert add(2, 3) == 5")

    assert outcome.outcome == "passed"


def test_a_wrong_program_fails_and_the_failing_test_is_quoted(sandbox):
    outcome = run(sandbox, "def add(a, b): return a - b", "assert add(2, 3) == 5")

    assert outcome.outcome == "failed"
    assert "assert add(2, 3) == 5" in outcome.detail


@pytest.mark.skipif(bool(missing_protections()), reason="; ".join(missing_protections()))
@pytest.mark.parametrize("action", ESCAPES.values(), ids=ESCAPES.keys())
def test_an_escape_is_refused(sandbox, action):
    outcome = run(sandbox, ATTEMPT.format(action=action), "assert attempt().startswith('refused')")

    assert outcome.outcome == "passed", outcome.detail


def test_the_environment_is_empty(sandbox, monkeypatch):
    monkeypatch.setenv("SECRET_TOKEN", "hunter2")
    fresh = Sandbox(num_workers=1)
    source = "import os\ndef environment(): return dict(os.environ)"

    outcome = run(fresh, source, "assert environment() == {}")

    fresh.close()
    assert outcome.outcome == "passed"


def test_no_inherited_file_is_open_but_the_channel(sandbox):
    source = """
import os
def usable():
    found = []
    for fd in range(3, 64):
        try:
            os.fstat(fd)
            found.append(fd)
        except OSError:
            pass
    return len(found)
"""

    assert run(sandbox, source, "assert usable() == 2").outcome == "passed"


def test_standard_input_is_empty(sandbox):
    # Through it the judge gets the tests; to read it is to read them.
    source = "import os\ntaken = os.read(0, 1000)\ndef f(): return (taken, os.read(0, 1000))"

    assert run(sandbox, source, "assert f() == (b'', b'')").outcome == "passed"


def test_site_packages_and_this_package_are_not_importable(sandbox):
    source = "def load(name): return __import__(name).__name__"
    tests = [
        f"try:\n    load('{name}')\nexcept ImportError:\n    pass\nelse:\n    assert False"
        for name in ("numpy", "sympy", "rlpeft")
    ]

    assert run(sandbox, source, *tests).outcome == "passed"


def test_the_standard_library_is_importable(sandbox):
    source = "import zoneinfo, csv, sqlite3, statistics\ndef mean(x): return statistics.mean(x)"

    assert run(sandbox, source, "assert mean([1, 2, 3]) == 2").outcome == "passed"


def test_a_program_may_write_in_its_own_folder(sandbox):
    source = "def keep(x):\n    open('note', 'w').write(x)\n    return open('note').read()"

    assert run(sandbox, source, "assert keep('hello') == 'hello'").outcome == "passed"


@pytest.mark.parametrize("size", [0, 1 << 20])
def test_many_files_are_stopped(sandbox, size):
    source = f"def fill():\n    for i in range(10**6): open(str(i), 'wb').write(bytes({size}))"

    outcome = run(sandbox, source, "assert fill() is None", cpu_s=60)

    assert outcome.outcome == "failed"
    assert "written" in outcome.detail


@pytest.mark.slow
@pytest.mark.parametrize(
    "source",
    [
        "def f():\n    while True: pass",
        "while True: pass",
        "import signal\nsignal.signal(signal.SIGXCPU, signal.SIG_IGN)\nwhile True: pass",
        "def f():\n    return 9 ** 9 ** 9",
    ],
)
def test_an_endless_program_is_wrong_at_its_time_limit(sandbox, source):
    outcome = run(sandbox, source, "assert f() is None", cpu_s=1)

    assert outcome.outcome == "failed"
    assert "time limit" in outcome.detail


def test_a_sleeping_program_is_wrong_at_the_deadline(sandbox):
    outcome = run(sandbox, "import time\ndef f(): time.sleep(60)", "assert f() is None", wall_s=0.5)

    assert outcome.outcome == "failed"
    assert "waited" in outcome.detail


def test_a_program_that_the_machine_starved_is_not_called_wrong(sandbox):
    # At work to the end with processor time to spare: on a machine that had some, it may be right.
    outcome = run(
        sandbox, "def f():\n    while True: pass", "assert f() is None", cpu_s=60, wall_s=0.3
    )

    assert outcome.outcome == "starved"


@pytest.mark.slow
def test_a_program_that_slept_away_its_time_is_not_called_starved(sandbox):
    source = "import time\ndef f():\n    time.sleep(1.2)\n    while True: pass"

    outcome = run(sandbox, source, "assert f() is None", cpu_s=60, wall_s=1.5)

    assert outcome.outcome == "failed"
    assert "waited" in outcome.detail


@pytest.mark.parametrize("status", [0, 1, 70, 255])
@pytest.mark.parametrize("source", ["import os; os._exit({})", "def f(): import os; os._exit({})"])
def test_a_program_that_ends_itself_is_wrong_whatever_its_status(sandbox, source, status):
    outcome = run(sandbox, source.format(status), "assert f() == 1")

    assert outcome.outcome == "failed"


def test_memory_is_bounded(sandbox):
    outcome = run(sandbox, "def f(): return len(bytearray(4 << 30))", "assert f() is None")

    assert outcome.outcome == "failed"
    assert "MemoryError" in outcome.detail


@pytest.mark.slow
def test_endless_output_is_harmless(sandbox):
    source = "def f():\n    while True: print('x' * 10000)"

    assert run(sandbox, source, "assert f() is None", cpu_s=1).outcome == "failed"


@pytest.mark.slow
def test_an_endless_answer_is_harmless(sandbox):
    source = "def f():\n    while True: yield 1"

    assert run(sandbox, source, "assert list(f()) == []").outcome == "failed"


def test_threads_are_allowed(sandbox):
    source = """
import threading
def f():
    got = []
    thread = threading.Thread(target=got.append, args=(1,)); thread.start(); thread.join()
    return got
"""

    assert run(sandbox, source, "assert f() == [1]").outcome == "passed"


@pytest.mark.parametrize(
    "source",
    [
        "import os\nos._exit(0)",
        "raise SystemExit(0)",
        "import os\ndef f(x): os._exit(0)",
        "def f(x): raise SystemExit(0)",
        "class Any:\n    def __eq__(self, other): return True\ndef f(x): return Any()",
        "class N(int):\n    def __eq__(self, other): return True\n"
        "    __hash__ = int.__hash__\ndef f(x): return N(0)",
        "import builtins\nbuiltins.AssertionError = Warning\nbuiltins.abs = lambda x: 0\n"
        "abs = builtins.abs\ndef f(x): return 0",
        "import sys\nsys.modules['math'] = None\ndef f(x): return None",
        "import os\ndef f(x):\n    for fd in range(3, 40):\n"
        "        try: os.write(fd, b'\\0' * 200)\n"
        "        except OSError: pass\n    os._exit(0)",
        "def f(x): return f",
        "f = None",
        "",
    ],
)
def test_a_cheat_passes_nothing(sandbox, source):
    outcome = run(sandbox, source, "import math\nassert abs(f(2) - 4) < 1e-6 and f(2) == 4")

    assert outcome.outcome == "failed", outcome


def test_the_judge_keeps_its_own_built_ins(sandbox):
    source = "def abs(x): return 0\ndef all(x): return True\ndef f(x): return -1"

    assert run(sandbox, source, "assert abs(f(2) - 4) < 1e-6").outcome == "failed"
    assert run(sandbox, source, "assert all(y == 4 for y in [f(2)])").outcome == "failed"


def test_a_function_that_is_called_like_a_built_in_can_be_tested(sandbox):
    source = "def sum(a, b): return a + b"

    assert (
        run(sandbox, source, "assert sum(2, 3) == 5", "assert sum(0, 1) == 1").outcome == "passed"
    )


def test_a_program_finds_no_tests_in_its_memory(sandbox):
    source = """
import gc, sys
def seen():
    gc.unfreeze()
    frame, found = sys._getframe(), []
    while frame:
        found += [str(value) for value in frame.f_locals.values() if value is not found]
        frame = frame.f_back
    found += [o for o in gc.get_objects() if isinstance(o, str)]
    found += [str(list(o.values())) for o in gc.get_objects() if type(o) is dict]
    return sum("needle" + "-in-a-test" in text for text in found)
"""
    alone = Sandbox(num_workers=1)
    tests = "assert seen() == 0  # needle-in-a-test"

    first, second = run(alone, source, tests), run(alone, source, tests)

    alone.close()
    assert (first.outcome, second.outcome) == ("passed", "passed")


def test_a_program_that_floods_the_judge_fails(sandbox):
    assert (
        run(sandbox, "def f(): return 'x' * (40 << 20)", "assert f() is None").outcome == "failed"
    )


NEST = "def nest(depth):\n    x = []\n    for _ in range(depth):\n        x = [x]\n    return x\n"


@pytest.mark.parametrize("depth", [160, 900, 10**5])
@pytest.mark.parametrize(
    ("program", "tests"),
    [
        (NEST, "assert nest({depth}) is None"),
        (NEST, "try:\n    nest({depth})\nexcept Exception:\n    assert nest(1) == []"),
        ("def f(x): return 1", NEST + "assert f(nest({depth})) == 2"),
        ("def f(give): return len(give())", NEST + "assert f(lambda: nest({depth})) == 3"),
    ],
    ids=["returned", "caught", "handed over", "given when asked"],
)
def test_a_value_deeper_than_our_limit_is_nobodys_mistake(sandbox, depth, program, tests):
    found = run(sandbox, program, tests.replace("{depth}", str(depth)))
    assert (found.outcome, "nested deeper than" in found.detail) == ("unjudged", True)


def test_a_value_within_our_limit_is_compared(sandbox):
    assert run(
        sandbox, NEST, NEST.replace("nest", "same") + "assert nest(99) == same(99)"
    ).outcome == ("passed")
    assert run(
        sandbox, NEST, NEST.replace("nest", "same") + "assert nest(98) == same(99)"
    ).outcome == ("failed")


def test_a_raised_exception_reaches_the_test_as_the_built_in_one(sandbox):
    test = "try:\n    f()\nexcept KeyError:\n    pass\nelse:\n    assert False"

    assert run(sandbox, "def f(): return {}[1]", test).outcome == "passed"


def test_objects_of_the_program_can_be_built_and_passed(sandbox):
    source = (
        "class Node:\n    def __init__(self, v): self.v, self.next = v, None\n"
        "def total(n): return n.v + (total(n.next) if n.next else 0)"
    )
    tests = "a = Node(1)\na.next = Node(2)\nassert total(a) == 3 and a.next.v == 2"

    assert run(sandbox, source, tests).outcome == "passed"


@pytest.mark.parametrize(
    "value",
    ["(1, 'a', None)", "{1, 2}", "{'a': [1.5, True]}", "10**40", "-(2**70)", "b'x'", "2+3j",
     "range(3)", "frozenset([1])", "float('inf')", "[[], {}, ()]", "'\\ud800'"],
)  # fmt: skip
def test_plain_values_travel_unchanged(sandbox, value):
    test = f"x = f({value})\nassert x == {value} and type(x) is type({value})"

    assert run(sandbox, "def f(x): return x", test).outcome == "passed"


def test_a_program_that_cannot_be_compiled_is_told_from_a_wrong_one(sandbox):
    assert run(sandbox, "def f(:", "assert f() is None").outcome == "syntax"


@pytest.mark.parametrize("test", ["assert f( == 1", "assert f() == 1\0", "(" * 5000, "'\ud800'"])
def test_broken_tests_are_told_from_a_wrong_program(sandbox, test):
    assert run(sandbox, "def f(): return 1", test).outcome == "bad tests"


def test_jobs_share_nothing(sandbox):
    first = "import math\nmath.pi = 3\nopen('left', 'w').write('x')\ndef f(): return 1"
    second = "import math, os\ndef f(): return (math.pi > 3.1, os.listdir('.'))"

    alone = Sandbox(num_workers=1)
    run(alone, first, "assert f() == 1")
    outcome = run(alone, second, "assert f() == (True, [])")

    alone.close()
    assert outcome.outcome == "passed"


def test_a_killed_worker_is_replaced():
    alone = Sandbox(num_workers=1)
    run(alone, "def f(): return 1", "assert f() == 1")
    worker = alone._idle.get()
    worker._process.kill()
    alone._idle.put(worker)

    broken = run(alone, "def f(): return 1", "assert f() == 1")
    after = run(alone, "def f(): return 1", "assert f() == 1")

    alone.close()
    assert (broken.outcome, after.outcome) == ("broken", "passed")


@pytest.mark.slow
def test_a_job_that_was_interrupted_leaves_its_result_to_nobody(monkeypatch):
    # A shell starts background commands with the interrupt ignored; here it must be heard.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    alone = Sandbox(num_workers=1)
    run(alone, "def f(): return 1", "assert f() == 1")
    interrupt = threading.Timer(0.3, signal.raise_signal, [signal.SIGINT])
    interrupt.start()

    with pytest.raises(KeyboardInterrupt):
        run(alone, "import time\ndef f(): time.sleep(1)", "assert f() is None")
    after = run(alone, "def f(): return 1", "assert f() == 2")

    alone.close()
    signal.signal(signal.SIGINT, before)
    assert after.outcome == "failed"
    assert "assert f() == 2" in after.detail


@pytest.mark.slow
def test_the_processes_of_a_parent_that_was_killed_end(tmp_path):
    code = (
        "from rewards.code.sandbox import Job, Sandbox\n"
        "source = 'import time\\ndef f(): time.sleep(60)'\n"
        "Sandbox(1).run(Job(source, ('assert f() is None',), wall_s=60.0))\n"
    )
    environment = {"TMPDIR": str(tmp_path), "PYTHONPATH": os.pathsep.join(sys.path)}
    parent = subprocess.Popen([sys.executable, "-c", code], env=environment)
    wait_for(lambda: list(tmp_path.glob("sandbox-*/*")))
    group = descendants(parent.pid)

    parent.kill()
    parent.wait()

    assert len(group) == 3
    wait_for(lambda: not list(tmp_path.glob("sandbox-*")))
    wait_for(lambda: not any(Path(f"/proc/{pid}").exists() for pid in group))


def wait_for(condition, seconds=120.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def descendants(pid):
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(c) for c in children] + [d for c in children for d in descendants(int(c))]


@pytest.mark.slow
def test_nothing_is_left_behind():
    def children():
        return Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text().split()

    before = set(children())
    alone = Sandbox(num_workers=2)
    alone.run_many([Job("while True: pass", ("assert f() is None",), cpu_s=1, wall_s=2.0)] * 2)
    alone.close()

    assert set(children()) <= before
    assert not Path("/tmp/sandbox-escape").exists()
