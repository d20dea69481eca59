"""Fifty kills: of every kind of process, in every phase of a step, with Ray and without.

After a kill the same command is given again until the run is done. It must then be, bit for bit,
what it is without a kill. Where another process than the driver dies, the driver goes on or ends
with one line that names the cause. Nothing of what it started may live on.
"""

import itertools
import os
import random
import signal
import sys
import time
import uuid
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from jobs import watchdog
from jobs.command import TRY_AGAIN
from jobs.train import run

DRIVER = Path(__file__).with_name("driver.py")
PHASES = ("start", "sync", "rollout", "score", "learn", "record", "save", "test")
RAY_VICTIMS = {
    "driver": None,
    "engine": "ray::EngineAct",
    "learner": "ray::LearnerAct",
    "reward worker": "ray::RewardAct",
    "raylet": "raylet ",
    "gcs": "gcs_server",
    "agent": ("ray::DashboardAg", "ray::RuntimeEnvAg"),
}
LOCAL_VICTIMS = {"driver": None, "reward worker": "rewards.host "}
ENVIRONMENT = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "0123456789abcdef" * 4}
ENVIRONMENT["PYTHONPATH"] = os.pathsep.join(
    [str(DRIVER.parent), str(DRIVER.parents[2]), os.environ.get("PYTHONPATH", "")]
)
MOST_TRIES = 4
PATIENCE_S = 300
"""For what takes seconds on a machine that has nothing else to do."""
SEED = 19


@dataclass(frozen=True)
class Case:
    """Whom to kill, in which phase, at its which time, after how many seconds."""

    number: int
    mode: str
    victim: str
    phase: str
    occurrence: int
    delay_s: float

    def __str__(self):
        return f"{self.number}-{self.mode}-{self.victim}-{self.phase}"


def drawn():
    """The fifty cases; victims and phases take turns, so that each is met three times and more."""
    draw, phases = random.Random(SEED), itertools.cycle(PHASES)
    found = [("local", "driver") for _ in range(11)] + [("local", "reward worker")] * 4
    found += [("ray", victim) for victim in RAY_VICTIMS for _ in range(5)]
    return [
        Case(number, mode, victim, next(phases), draw.randrange(1, 3), draw.uniform(0, 0.4))
        for number, (mode, victim) in enumerate(found)
    ]


CASES = drawn()


def test_each_victim_and_each_phase_is_met_three_times():
    assert len(CASES) == 50
    for mode, victims in (("local", LOCAL_VICTIMS), ("ray", RAY_VICTIMS)):
        for victim in victims:
            assert sum((c.mode, c.victim) == (mode, victim) for c in CASES) >= 3
    assert all(sum(c.phase == phase for c in CASES) >= 3 for phase in PHASES)


@pytest.fixture(scope="module")
def recipe(make_quick):
    return make_quick(
        train={"steps": 3, "eval_every": 1},
        # In a process of its own, so that there is one to kill.
        reward=[{"name": "graded:score", "correct_at": 1.0}],
        resources={
            "reward_workers": 1,
            "learner_cpus": 0.5,
            "engine_cpus": 0.5,
            "placement_timeout_s": 300,
        },
    )


@pytest.fixture(scope="module")
def unhurt(recipe, tmp_path_factory, decided):
    folder = tmp_path_factory.mktemp("unhurt")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(DRIVER.parent)
        run(recipe, folder, ray=False)
    return decided(folder)


class Drive:
    """One life of a driver, of all that it starts, and of the pipe it speaks on."""

    def __init__(self, folder, mode):
        self.read, write = os.pipe()
        self.mode, self.log, self.mark = mode, folder / "log", uuid.uuid4().hex
        self.family, self.written = set(), 0
        with self.log.open("ab") as output:
            self.process = psutil.Popen(
                [sys.executable, DRIVER, folder / "recipe.json", folder / "run", mode, str(write)],
                pass_fds=[write],
                stdout=output,
                stderr=output,
                env=os.environ | ENVIRONMENT | {watchdog.VARIABLE: self.mark},
            )
        os.close(write)
        self.lines = os.fdopen(self.read)

    def reach(self, phase, occurrence=1):
        """Wait until the driver is about to do something for the n-th time."""
        seen = 0
        for line in self.lines:
            seen += line.strip() == phase
            if seen == (1 if phase in ("start", "test") else occurrence):
                return
        raise AssertionError(f"the driver never got to {phase!r}: {self.log.read_text()}")

    def kill(self, victim, delay_s=0.0):
        """Kill every process of a kind, as soon as there is one and a delay is over."""
        found = self.find((LOCAL_VICTIMS if self.mode == "local" else RAY_VICTIMS)[victim])
        time.sleep(delay_s)
        self.family.update(self.children())
        self.written = len(self.log.read_text())
        for process in found:
            with suppress(psutil.NoSuchProcess):
                process.send_signal(signal.SIGKILL)

    def find(self, name):
        """Processes of the driver whose description begins so; the driver itself if `None`."""
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            if name is None:
                return [self.process]
            found = [child for child in self.children() if described(child).startswith(name)]
            if found:
                return found
            assert self.process.poll() is None, f"no {name!r}: {self.log.read_text()}"
            time.sleep(0.02)
        raise AssertionError(f"no {name!r} within {PATIENCE_S} s: {self.log.read_text()}")

    def children(self):
        with suppress(psutil.NoSuchProcess):
            return psutil.Process(self.process.pid).children(recursive=True)
        return []

    def wait(self):
        """The exit code."""
        for _ in self.lines:  # a full pipe would stop the driver
            pass
        self.lines.close()
        return self.process.wait(PATIENCE_S)

    def end(self):
        """The exit code, and what was written after the last kill; nothing lives on."""
        code, deadline = self.wait(), time.monotonic() + 60
        while left := self.left():
            assert time.monotonic() < deadline, [described(process) for process in left]
            time.sleep(0.2)
        return code, self.log.read_text()[self.written :]

    def left(self):
        """What the driver or anything of it started and is not over."""
        return {p for p in self.family | watchdog.marked(self.mark) if not is_over(p)}


@contextmanager
def driving(folder, mode):
    drive = Drive(folder, mode)
    try:
        yield drive
    finally:
        with suppress(psutil.NoSuchProcess):
            drive.process.kill()


def described(process):
    """Its module, if Python runs one, or else its name; then its command."""
    with suppress(psutil.Error):
        command = process.cmdline()
        module = command[command.index("-m") + 1] if "-m" in command[:-1] else process.name()
        return f"{module} {' '.join(command)}"
    return ""


def is_over(process):
    with suppress(psutil.NoSuchProcess):
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    return True


def check_end(code, told):
    """A driver that was not killed itself has gone on, or says in a line why it may be repeated."""
    if code != 0:
        assert code == TRY_AGAIN, told
        assert sum(line.startswith("error: ") for line in told.splitlines()) == 1, told
        assert "Traceback" not in told


def go_on(folder, mode):
    """Give the same command again until the run is done."""
    for _ in range(MOST_TRIES):
        with driving(folder, mode) as drive:
            code = drive.wait()
        if code == 0:
            return
        assert code == TRY_AGAIN, (folder / "log").read_text()
    raise AssertionError((folder / "log").read_text())


def survive(case, folder, recipe, unhurt, decided):
    (folder / "recipe.json").write_text(recipe.model_dump_json())
    with driving(folder, case.mode) as drive:
        drive.reach(case.phase, case.occurrence)
        drive.kill(case.victim, case.delay_s)
        code, told = drive.end()
    if case.victim != "driver":
        check_end(code, told)
    if code != 0:
        go_on(folder, case.mode)
    assert decided(folder / "run") == unhurt


@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.timeout(6 * PATIENCE_S)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_run_in_which_a_process_is_killed_ends_as_one_in_which_none_is(
    case, tmp_path, recipe, unhurt, decided
):
    survive(case, tmp_path, recipe, unhurt, decided)


@pytest.mark.parametrize("number", [4, 6, 10])
def test_a_run_in_one_process_survives_a_kill(number, tmp_path, recipe, unhurt, decided):
    survive(CASES[number], tmp_path, recipe, unhurt, decided)


LIVES = (
    (("engine", "rollout"), ("reward worker", "score"), ("learner", "learn")),
    (("raylet", "rollout"),),
    (("gcs", "score"),),
    (("agent", "record"),),
)
"""Kills in turn, each in its phase; the last of a life ends the driver."""


@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.timeout(6 * PATIENCE_S)
def test_a_run_in_which_one_of_each_kind_is_killed_in_turn_ends_as_one_in_which_none_is(
    tmp_path, recipe, unhurt, decided
):
    (tmp_path / "recipe.json").write_text(recipe.model_dump_json())
    assert {victim for life in LIVES for victim, _ in life} == RAY_VICTIMS.keys() - {"driver"}
    for life in LIVES:
        with driving(tmp_path, "ray") as drive:
            for victim, phase in life:
                drive.reach(phase)
                drive.kill(victim)
            code, told = drive.end()
        assert code != 0, told
        check_end(code, told)
    go_on(tmp_path, "ray")
    assert decided(tmp_path / "run") == unhurt
