"""Rewards of a user's own, which may do anything, in a process of their own."""

import os
import signal
import subprocess
import sys
import time

import pytest

from rewards import RewardError
from rewards.dialects import Rollouts
from rewards.hosted.process import RewardProcess
from rewards.scorer import RewardSpec

SLEEPS = "import time\ndef slow(completions):\n    time.sleep(60)\n"


def failure(score, source, module, name="r", **options):
    """The one line that scoring with this module's reward ends in."""
    with pytest.raises(RewardError) as caught:
        score([RewardSpec(f"{module(source)}:{name}", **options)], ["a", "b"])
    (line,) = str(caught.value).splitlines()
    return line


@pytest.fixture
def process(module):
    """A maker of processes with one reward; they end with the test."""
    made = []

    def make(source, *, timeout_s=120.0, warmup_timeout_s=120.0):
        spec = {"name": f"{module(source)}:r", "options": {}, "correct_at": None}
        kept = RewardProcess([spec], timeouts_s=[timeout_s], warmup_timeout_s=warmup_timeout_s)
        made.append(kept)
        return kept

    yield make
    for kept in made:
        kept.close()


def rollouts(*completions, **columns):
    number = len(completions)
    return Rollouts(["p"] * number, completions, [[1]] * number, [False] * number, columns, 3)


def scores(batch):
    return [verdict.score for verdict in batch.verdicts[0]]


def is_alive(pid):
    return os.path.exists(f"/proc/{pid}") and "Z" not in open(f"/proc/{pid}/stat").read().split()[2]


def eventually(condition, seconds=120.0):
    due = time.monotonic() + seconds
    while not condition() and time.monotonic() < due:
        time.sleep(0.05)
    return condition()


@pytest.mark.slow
def test_a_reward_that_sleeps_is_stopped_and_its_line_is_told(module, score):
    line = failure(score, SLEEPS, module, "slow", timeout_s=1.5)
    assert "'slow' must score a batch of 2 within reward.timeout_s = 1.5 s" in line
    assert ".py:3 in slow)" in line


@pytest.mark.slow
def test_a_loop_in_a_library_is_told_at_the_line_that_called_it(module, score):
    source = "import json\nclass Bad(dict):\n    def items(self):\n        while True: pass\n"
    source += "def r(completions):\n    return json.dumps(Bad(a=1))\n"
    assert ".py:4 in items" in failure(score, source, module, timeout_s=1.5)


@pytest.mark.slow  # a busy machine has to come to the line that sleeps
def test_a_module_that_sleeps_when_it_is_imported_is_stopped(module, score):
    source = "import time\ntime.sleep(60)\ndef r(completions): ...\n"
    line = failure(score, source, module, warmup_timeout_s=10.0)
    assert "reward.warmup_timeout_s = 10 s" in line
    assert ".py:2 in <module>" in line


@pytest.mark.slow
def test_loading_does_not_count_for_the_first_batch(process):
    kept = process(
        "import time\ntime.sleep(4.5)\ndef r(completions): return [1.0]\n", timeout_s=4.0
    )
    assert scores(kept.score(rollouts("a"))) == [1.0]


@pytest.mark.slow
def test_after_a_timeout_the_next_batch_finds_a_new_process(process):
    kept = process(
        "import os, time\n"
        "def r(completions):\n"
        "    if completions[0] == 'slow': time.sleep(60)\n"
        "    return [float(os.getpid())]\n",
        timeout_s=4.0,
    )
    first = scores(kept.score(rollouts("a")))
    with pytest.raises(RewardError, match="within"):
        kept.score(rollouts("slow"))
    assert not is_alive(int(first[0]))
    assert scores(kept.score(rollouts("a"))) != first


@pytest.mark.parametrize(
    ("leave", "told"),
    [
        ("sys.exit(0)", r"must not raise, got SystemExit: 0 \(.*\.py:4 in r\)"),
        ("os._exit(3)", r"process of reward 'r' must stay alive.*exit code 3 \(os\._exit\?\)"),
        ("raise KeyboardInterrupt", r"KeyboardInterrupt.*\.py:4 in r"),
        ("[0] * 10**15", r"got MemoryError.*\.py:4 in r"),
        ("json.loads('[')", r"JSONDecodeError.*\.py:4 in r"),
        ("r(completions)", r"RecursionError.*\.py:4 in r"),
    ],
)
def test_a_reward_that_leaves_is_one_line_with_its_place(module, score, leave, told):
    import re

    source = f"import json, os, sys\ndef r(completions):\n    x = 1\n    {leave}\n"
    assert re.search(told, failure(score, source, module))


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("import sys\nsys.exit(3)\n", "SystemExit: 3"),
        ("def r(:\n", ".py:1"),
        ("x = 1\nx.y\n", ".py:2 in <module>"),
        ("import os\nos._exit(1)\n", "exit code 1"),
    ],
)
def test_a_module_that_cannot_be_imported_is_one_line_with_its_place(module, score, source, told):
    assert told in failure(score, source, module)


def test_what_a_reward_prints_goes_nowhere_until_it_fails(module, score, capfd):
    source = (
        "import os, sys\n"
        "print('loading')\n"
        "def r(completions):\n"
        "    print('asked', completions)\n"
        "    os.system('echo from a shell')\n"
        "    print('careful', file=sys.stderr)\n"
        "    if 'bad' in completions: raise ValueError('bad')\n"
        "    return [1.0 for _ in completions]\n"
    )
    name = module(source)
    score([f"{name}:r"], ["good"])
    assert capfd.readouterr() == ("", "")
    with pytest.raises(RewardError, match=r"ValueError.*It printed: .*from a shell careful"):
        score([f"{name}:r"], ["bad"])
    assert capfd.readouterr() == ("", "")


def test_a_row_that_raises_is_told_with_its_line_and_what_was_printed(module, score):
    name = module("def r(completion, gold):\n    print('dividing')\n    return 1 / 0\n")
    with pytest.raises(RewardError, match=r"ZeroDivisionError.*py:3 in r.*printed: 'dividing"):
        score([f"{name}:r"], ["a"], columns={"answer": ["1"]})


@pytest.mark.slow
def test_endless_output_costs_no_memory_and_is_stopped(module, score):
    source = "def r(completions):\n    while True: print('x' * 1000)\n"
    line = failure(score, source, module, timeout_s=0.5)
    assert len(line) < 1500


def test_models_caches_and_the_loop_live_on_between_batches(process):
    kept = process(
        "import asyncio\n"
        "loaded = [0]\n"
        "async def r(completions):\n"
        "    loaded.append(id(asyncio.get_running_loop()))\n"
        "    return [float(len(loaded)), float(len(set(loaded)))]\n"
    )
    assert [scores(kept.score(rollouts("a", "b"))) for _ in range(3)] == [[2, 2], [3, 2], [4, 2]]


def test_async_rows_are_awaited_together(module, score):
    name = module(
        "import asyncio\n"
        "met = asyncio.Barrier(8)\n"
        "async def r(completion, gold):\n"
        "    await met.wait()\n"
        "    return True\n"
    )
    # Each waits for all others: one after the other they would wait for ever.
    batch = score([f"{name}:r"], ["a"] * 8, columns={"answer": ["1"] * 8})
    assert [v.kind.value for v in batch.verdicts] == ["correct"] * 8


@pytest.mark.parametrize(
    ("keyword", "leave"),
    [
        ("async def", "raise asyncio.CancelledError"),
        ("def", "raise asyncio.CancelledError"),
        ("async def", "raise KeyboardInterrupt"),
        ("async def", "raise GeneratorExit"),
    ],
)
def test_a_row_fails_alone_whatever_it_raises(process, keyword, leave):
    kept = process(
        "import asyncio\n"
        f"{keyword} r(completion, gold):\n"
        f"    if completion == 'x': {leave}\n"
        "    return True\n"
    )
    (verdicts,) = kept.score(rollouts("a", "x", "b", answer=["1"] * 3)).verdicts
    assert [v.kind.value for v in verdicts] == ["correct", "error", "correct"]
    assert leave.removeprefix("raise ").removeprefix("asyncio.") in verdicts[1].reason


def test_a_process_killed_by_chance_does_the_batch_again(process, tmp_path):
    flag = tmp_path / "killed"
    kept = process(
        "import os, signal\n"
        "def r(completions):\n"
        f"    if not os.path.exists({str(flag)!r}):\n"
        f"        open({str(flag)!r}, 'w').close()\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
        "    return [0.5]\n"
    )
    assert scores(kept.score(rollouts("a"))) == [0.5]


def test_a_process_killed_again_and_again_is_told(process):
    kept = process("import os\ndef r(completions): os.kill(os.getpid(), 9)\n")
    with pytest.raises(RewardError, match=r"at step 3 it was killed by SIGKILL.*want of memory"):
        kept.score(rollouts("a"))


@pytest.mark.slow
def test_a_process_that_ends_while_its_fork_lives_on_is_told_before_the_deadline(process):
    kept = process(
        "import os, time\n"
        "def r(completions):\n"
        "    if os.fork() == 0: time.sleep(600)\n"
        "    os._exit(7)\n",
        timeout_s=300.0,
    )
    with pytest.raises(RewardError, match="exit code 7"):
        kept.score(rollouts("a"))


def test_closing_lets_last_rites_run_and_leaves_no_process(process, tmp_path):
    mark = tmp_path / "farewell"
    kept = process(
        "import atexit, os, subprocess\n"
        f"atexit.register(lambda: open({str(mark)!r}, 'w').close())\n"
        "child = subprocess.Popen(['sleep', '60'])\n"
        "def r(completions): return [float(os.getpid()), float(child.pid)]\n"
    )
    pids = [int(pid) for pid in scores(kept.score(rollouts("a", "b")))]
    kept.close()
    assert mark.exists()
    assert eventually(lambda: not any(map(is_alive, pids)))


def test_a_killed_run_leaves_no_process_behind(tmp_path):
    (tmp_path / "sleeper.py").write_text(
        "import os, time\n"
        f"open({str(tmp_path / 'pid')!r}, 'w').write(str(os.getpid()))\n"
        "def r(completions): time.sleep(60)\n"
    )
    code = (
        "from rewards.scorer import RewardSpec, Scorer\n"
        "scorer = Scorer([RewardSpec('sleeper:r')])\n"
        "scorer.score(prompts=['p'], completions=['a'], completion_ids=[[1]],\n"
        "             truncated=[False], columns={}, step=0)\n"
    )
    path = os.pathsep.join([str(tmp_path), *sys.path])
    run = subprocess.Popen([sys.executable, "-c", code], env=os.environ | {"PYTHONPATH": path})
    assert eventually(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text())
    pid = int((tmp_path / "pid").read_text())
    run.send_signal(signal.SIGKILL)
    run.wait()
    assert eventually(lambda: not is_alive(pid))


def test_rows_of_a_dataset_arrive_as_they_were(process):
    import datetime

    values = [
        {"tests": [1, 2.5, None], 3: "three"},
        (b"\x00\xff", datetime.date(2026, 1, 2)),
        "\ud800 \u0000",
        10**300,
        float("inf"),
    ]
    kept = process(
        "import datetime\n"
        "values = [{'tests': [1, 2.5, None], 3: 'three'}, (b'\\x00\\xff',"
        " datetime.date(2026, 1, 2)), '\\ud800 \\u0000', 10**300, float('inf')]\n"
        "def r(completions, value): return [a == b for a, b in zip(value, values)]\n"
    )
    batch = kept.score(rollouts(*"abcde", value=values))
    assert [v.kind.value for v in batch.verdicts[0]] == ["correct"] * 5


def test_a_column_that_cannot_be_sent_is_named_unless_nobody_asks_for_it(process):
    picture = object()
    kept = process("def r(completions, value): return [1.0]\n")
    assert scores(kept.score(rollouts("a", value=[1], picture=[picture]))) == [1.0]
    with pytest.raises(RewardError, match=r"column 'value' must hold text.*got a object"):
        kept.score(rollouts("a", value=[picture]))
