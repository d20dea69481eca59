"""Environments of a user's own, which may do anything, in a process of their own."""

import pytest

from rewards import RewardError
from rewards.environments.base import Step
from rewards.environments.process import Environments, EnvironmentSpec
from rewards.verdict import VerdictKind

HEAD = """
import asyncio, os, sys, time
class E:
    def __init__(self, **options): self.options = options
    def reset(self, row, seed): self.row = row; self.turns = 0; return row.get("opening")
"""


@pytest.fixture
def opened(module):
    """A maker of processes with one environment; they end with the test."""
    made = []

    def make(step, head=HEAD, timeout_s=60.0, memory_mb=None, **options):
        body = "\n".join(f"        {line}" for line in step.splitlines())
        kind = "async def" if "await" in step else "def"
        name = module(f"{head}\n    {kind} step(self, text):\n{body}\n") + ":E"
        found = Environments(EnvironmentSpec(name, options, timeout_s, 120.0, memory_mb))
        made.append(found)
        return found

    yield make
    for process in made:
        process.close()


def test_each_conversation_has_an_environment_of_its_own(opened):
    process = opened("self.turns += 1\nreturn f'{self.row[\"n\"]}/{self.turns}/{text}'")
    assert process.reset({"a": ({"n": 1, "opening": "go"}, 0), "b": ({"n": 2}, 0)}) == {
        "a": "go",
        "b": "",
    }
    process.step({"a": "x"})
    found = process.step({"b": "y", "a": "z"})
    assert found == {"b": Step("2/1/y"), "a": Step("1/2/z")}


def test_a_reward_of_true_says_that_it_ended_well(opened):
    process = opened("return 'end', text == 'yes', True")
    process.reset({"a": ({}, 0), "b": ({}, 0)})
    found = process.step({"a": "yes", "b": "no"})
    assert found == {"a": Step("end", 1.0, True, True), "b": Step("end", 0.0, True, False)}


def test_async_calls_wait_for_each_other_and_none_is_lost_with_one_that_is_late(opened):
    process = opened(
        "await asyncio.sleep(60 if text == 'late' else 0)\nreturn 'well'", timeout_s=1.0
    )
    process.reset({"a": ({}, 0), "b": ({}, 0)})
    found = process.step({"a": "late", "b": "soon"})
    assert found["b"] == Step("well")
    assert found["a"].kind is VerdictKind.TIMEOUT


def test_a_call_that_hangs_is_stopped_and_the_others_go_on(opened):
    process = opened("time.sleep(60 if text == 'late' else 0)\nreturn 'well'", timeout_s=1.0)
    process.reset({"a": ({}, 0), "b": ({}, 0)})
    found = process.step({"a": "late", "b": "soon"})
    assert found["b"] == Step("well")
    assert found["a"].kind is VerdictKind.TIMEOUT
    assert "must answer within environment.timeout_s = 1 s (it was at " in found["a"].reason
    assert "in step)" in found["a"].reason


def test_one_that_cannot_be_interrupted_is_killed_with_its_process(opened):
    step = (
        "while text == 'late':\n    try: time.sleep(60)\n    except BaseException: pass\n"
        "return 'well'"
    )
    process = opened(step, timeout_s=0.5)
    process.reset({"a": ({}, 0), "b": ({}, 0)})
    found = process.step({"a": "late", "b": "soon"})
    assert found["a"].kind is VerdictKind.TIMEOUT
    assert found["b"].kind is VerdictKind.ERROR
    assert "was lost with another conversation's" in found["b"].reason
    process.reset({"c": ({}, 0)})
    assert process.step({"c": "soon"}) == {"c": Step("well")}


@pytest.mark.parametrize(
    "dawdle",
    [
        "try: time.sleep(60)\nexcept BaseException: pass",
        "signal.setitimer(signal.ITIMER_REAL, 0)\ntime.sleep(1)",
        "await asyncio.sleep(0)\ntime.sleep(1)",
    ],
)
def test_an_answer_after_the_limit_is_late(opened, dawdle):
    head = HEAD.replace("import asyncio", "import signal, asyncio")
    process = opened(f"{dawdle}\nreturn 'late', 1.0, True, True", head=head, timeout_s=0.5)
    process.reset({"a": ({}, 0)})
    (late,) = process.step({"a": "x"}).values()
    assert late.kind is VerdictKind.TIMEOUT
    assert "must answer within environment.timeout_s = 0.5 s" in late.reason


def test_a_call_cannot_be_put_off_again_and_again(opened):
    step = (
        "frame = sys._getframe()\n"
        "while 'key' not in frame.f_locals: frame = frame.f_back\n"
        "line = '{\"awaited\": \"%s\"}\\n' % frame.f_locals['key']\n"
        "os.write(int(sys.argv[1]), 2 * line.encode())\n"
        "return 'well'"
    )
    process = opened(step)
    process.reset({"a": ({}, 0)})
    (failed,) = process.step({"a": "x"}).values()
    assert failed.kind is VerdictKind.ERROR
    assert "it wrote to the pipe of its replies what is none" in failed.reason


def test_one_that_ends_its_process_is_named_with_what_it_printed(opened):
    process = opened("print('so long', flush=True)\nos._exit(3)")
    process.reset({"a": ({}, 0)})
    (failed,) = process.step({"a": "x"}).values()
    assert failed.kind is VerdictKind.ERROR
    assert failed.reason.endswith(
        "must stay alive, it ended with exit code 3 (os._exit?). It printed: 'so long'."
    )
    (lost,) = process.step({"a": "x"}).values()
    assert "its process was lost" in lost.reason


def test_what_several_conversations_printed_is_said_to_be_theirs_in_whole_lines(opened):
    process = opened(
        "for turn in range(50): print(f'{text}: turn {turn} of a long day', flush=True)\n"
        "if text == 'bad': raise ValueError(text)\nreturn 'well'"
    )
    process.reset({"a": ({}, 0), "b": ({}, 0)})
    reason = process.step({"a": "good", "b": "bad"})["b"].reason
    printed = reason.partition(" The environments of these 2 conversations printed: ")[2]
    assert printed.startswith("'bad: turn 39 of")
    assert printed.endswith("bad: turn 49 of a long day'.")


@pytest.mark.parametrize(
    ("step", "said"),
    [
        ("return 3", "(observation, reward, done, correct), got int 3"),
        ("return '', 1.0", "step must return text, (observation, reward, done) or (observation, "),
        ("return '', 1.0", "got tuple of 2 ('', 1.0)"),
        ("return 1.0, '', True", "reward, done, correct), in this order, got (1.0, '', True)"),
        ("return 'a' * 200_000", "step must return at most 100000 characters, got 200000"),
        ("return 'a\\x1bb'", "step must return plain text, its character 1 is '\\x1b'"),
        ("return 'a', float('nan'), True", "step must give a finite number as its reward"),
        ("return 'a', 0.0, 'no'", "step must say by True or False whether it is done"),
        ("raise KeyError('tool')", "raised KeyError: 'tool'"),
        ("sys.exit(2)", "raised SystemExit: 2"),
    ],
)
def test_nonsense_is_a_failure_of_its_conversation(opened, step, said):
    process = opened(step)
    process.reset({"a": ({}, 0)})
    (failed,) = process.step({"a": "x"}).values()
    assert failed.kind is VerdictKind.ERROR
    assert said in failed.reason


@pytest.mark.parametrize(
    ("step", "said"),
    [
        ("sys.exit(3)", "raised SystemExit: 3"),
        ("raise KeyboardInterrupt", "raised KeyboardInterrupt"),
        ("raise GeneratorExit", "raised GeneratorExit"),
        ("raise asyncio.CancelledError", "raised CancelledError"),
        (
            "raise type('E', (Exception,), {'__str__': lambda self: 1 / 0})",
            "raised E: its message ",
        ),
    ],
)
def test_whatever_an_async_step_raises_fails_its_conversation_alone(opened, step, said):
    process = opened(f"await asyncio.sleep(0)\nif text == 'x': {step}\nreturn 'well'")
    process.reset({"a": ({}, 0), "b": ({}, 0)})
    found = process.step({"a": "x", "b": "y"})
    assert found["b"] == Step("well")
    assert found["a"].kind is VerdictKind.ERROR
    assert said in found["a"].reason
    assert process.step({"b": "y"}) == {"b": Step("well")}


@pytest.mark.parametrize("first", ["", "await asyncio.sleep(0)\n"])
def test_a_reply_that_one_conversation_writes_for_another_is_not_believed(opened, first):
    forged = b'{"of": "b", "found": ["", 1.0, true, true]}\n'
    write = f"if text == 'x': os.write(int(sys.argv[1]), {forged!r})\nreturn 'well'"
    process = opened(first + write)
    process.reset({"a": ({}, 0), "b": ({}, 0)})
    found = process.step({"a": "x", "b": "y"})
    assert {kind.kind for kind in found.values()} == {VerdictKind.ERROR}


@pytest.mark.parametrize(
    "line",
    ["not json", "5", '{"x": 1}', '{"of": "a", "found": ["", "much", true, true]}', '{"of": []}'],
)
def test_what_writes_to_the_pipe_of_replies_costs_its_process_and_no_run(opened, line):
    reply = (line + "\n").encode()
    process = opened(f"if text == 'x': os.write(int(sys.argv[1]), {reply!r})\nreturn 'well'")
    process.reset({"a": ({}, 0), "b": ({}, 0)})
    found = process.step({"a": "x", "b": "y"})
    assert {each.kind for each in found.values()} == {VerdictKind.ERROR}
    assert "it wrote to the pipe of its replies what is none" in found["a"].reason
    process.reset({"c": ({}, 0)})
    assert process.step({"c": "y"}) == {"c": Step("well")}


def test_a_task_that_ends_the_loop_costs_its_process_and_no_run(opened):
    end = "async def end(): sys.exit(4)\nasyncio.ensure_future(end())"
    process = opened(f"{end}\nawait asyncio.sleep(1)\nreturn 'well'")
    process.reset({"a": ({}, 0)})
    (failed,) = process.step({"a": "x"}).values()
    assert failed.kind is VerdictKind.ERROR
    assert "must stay alive, it ended by 4" in failed.reason


def test_truth_values_of_numpy_are_taken(opened):
    head = HEAD.replace("import asyncio", "import numpy as np, asyncio")
    process = opened("return 'end', 0.5, np.bool_(True), np.bool_(True)", head=head)
    process.reset({"a": ({}, 0)})
    assert process.step({"a": "x"}) == {"a": Step("end", 0.5, True, True)}


def test_a_text_that_tells_another_length_is_measured(opened):
    process = opened("return type('S', (str,), {'__len__': lambda self: 3})('q' * 200_000)")
    process.reset({"a": ({}, 0)})
    (failed,) = process.step({"a": "x"}).values()
    assert "at most 100000 characters, got 200000" in failed.reason


def test_one_that_raises_in_reset_fails_alone(opened):
    head = HEAD.replace("self.row = row;", "self.row = row['known'];")
    process = opened("return text", head=head)
    found = process.reset({"a": ({"known": {}}, 0), "b": ({}, 0)})
    assert found["a"] == ""
    assert "raised KeyError: 'known'" in found["b"].reason


def test_memory_is_limited(opened):
    process = opened("return str(len(bytearray(2**31)))", memory_mb=1024)
    process.reset({"a": ({}, 0)})
    (failed,) = process.step({"a": "x"}).values()
    assert "raised MemoryError" in failed.reason


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ("reset(self, row, seed)", "reset(self)", "must have reset(row, seed), E has reset()."),
        (
            "**options): ",
            "**options): raise KeyError('price')  ;",
            "made of environment.options = ",
        ),
    ],
)
def test_what_cannot_be_called_as_it_will_be_is_told_when_it_is_loaded(opened, before, after, said):
    with pytest.raises(RewardError) as caught:
        opened("return text", head=HEAD.replace(before, after))
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        ("calculatr", {}, "must be one of calculator, python, retry, or 'module:Class', got "),
        ("nowhere:Desk", {}, "must name an importable class, got no module 'nowhere'"),
        ("calculator", {"opens": 1}, "of open, close, calculates, reply, got opens. Did you mean "),
        ("rewards.verdict:Verdict", {"score": 1}, "environment.options of .* must give kind, got "),
        (
            "rewards.verdict:Verdict",
            {"score": 1, "kind": "wrong"},
            "must have reset\\(row, seed\\), Verdict has no reset",
        ),
    ],
)
def test_what_cannot_be_loaded_is_one_line(name, options, said):
    with pytest.raises(RewardError, match=said) as caught:
        Environments(EnvironmentSpec(name, options, 10.0, 120.0, None))
    assert len(str(caught.value).splitlines()) == 1
