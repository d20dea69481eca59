"""Fifty kills: of every kind of process, in every phase of a step, with Ray and without.

They follow each other in runs: after a kill that ends the driver the same command is given again,
until the run is done. It must then be, bit for bit, what it is without a kill. Whatever dies, the
driver goes on or one line names the cause. Nothing of what it started may live on.
"""

import itertools
import os
import random
import signal
import sys
import time
import uuid
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from jobs.cluster import reaper
from jobs.cluster.connect import SLOW_START
from jobs.cluster.driver_exit import MISTAKE, TRY_AGAIN
from rlpeft.program.run import run

DRIVER = Path(__file__).with_name("driver.py")
DRIVEN = f"{Path(sys.executable).name} {sys.executable} {DRIVER} "
"""The driver itself, a child of the command where it uses Ray."""

PHASES = ("start", "sync", "rollout", "score", "learn", "record", "save", "test")
RAY_VICTIMS = {
    "command": None,
    "driver": DRIVEN,
    "engine": "ray::EngineAct",
    "learner": "ray::LearnerAct",
    "reward worker": "ray::RewardAct",
    "raylet": "raylet ",
    "gcs": "gcs_server",
    "agent": ("ray::DashboardAg", "ray::RuntimeEnvAg"),
}
LOCAL_VICTIMS = {"driver": None, "reward worker": "rewards.hosted.host "}
OUTLIVED = ("engine", "reward worker")
"""What a driver starts anew."""

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

    @property
    def codes(self):
        """How a command may end that does not go on."""
        if self.victim == "command" or (self.mode, self.victim) == ("local", "driver"):
            return [-signal.SIGKILL]
        if self.victim == "reward worker":  # may be the reward's own fault, while it is loaded
            return [MISTAKE, TRY_AGAIN]
        return [128 + signal.SIGKILL if self.victim == "driver" else TRY_AGAIN]

    def __str__(self):
        return f"{self.number}-{self.mode}-{self.victim}-{self.phase}"


def drawn():
    """The fifty cases: victims in random order, phases in turn."""
    draw, phases = random.Random(SEED), itertools.cycle(PHASES)
    local = [("local", "driver")] * 6 + [("local", "reward worker")] * 4
    ray = [("ray", victim) for victim in RAY_VICTIMS for _ in range(5)]
    draw.shuffle(local)
    draw.shuffle(ray)
    return [
        Case(number, mode, victim, next(phases), draw.randrange(1, 3), draw.uniform(0, 0.4))
        for number, (mode, victim) in enumerate(local + ray)
    ]


CASES = drawn()
CHAINS = [CASES[:10], *(CASES[start : start + 8] for start in range(10, 50, 8))]
"""Cases that follow each other; each chain meets each phase."""


def test_each_victim_and_each_phase_is_met_three_times():
    assert len(CASES) == 50
    for mode, victims in (("local", LOCAL_VICTIMS), ("ray", RAY_VICTIMS)):
        for victim in victims:
            assert sum((c.mode, c.victim) == (mode, victim) for c in CASES) >= 3
        for phase in PHASES:
            assert sum((c.mode, c.phase) == (mode, phase) for c in CASES) >= 1
    assert all(sum(c.phase == phase for c in CASES) >= 3 for phase in PHASES)


@pytest.fixture(scope="module")
def recipe(make_quick):
    return make_quick(
        train={"steps": 8, "eval_every": 1},
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
    run_unhurt(recipe, folder)
    return decided(folder)


def run_unhurt(recipe, folder):
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(DRIVER.parent)
        run(recipe, folder)


class Drive:
    """One life of a driver, of all that it starts, and of the pipe it speaks on."""

    def __init__(self, folder, mode):
        self.read, write = os.pipe()
        self.mode, self.mark = mode, uuid.uuid4().hex
        self.folder, self.log = folder, folder / f"log.{self.mark}"
        self.family, self.hit = set(), set()
        with self.log.open("wb") as output:
            self.process = psutil.Popen(
                [sys.executable, DRIVER, folder / "recipe.json", folder / "run", mode, str(write)],
                pass_fds=[write],
                stdout=output,
                stderr=output,
                env=os.environ | ENVIRONMENT | {reaper.VARIABLE: self.mark},
            )
        os.close(write)
        self.lines = os.fdopen(self.read)

    def reach(self, phase, occurrence=1):
        """Whether the driver is now about to do something for the n-th time; `False`: it ended."""
        seen = 0
        for line in self.lines:
            seen += line.strip() == phase
            if seen == (1 if phase in ("start", "test") else occurrence):
                return True
        return False

    def kill(self, victim, delay_s=0.0):
        """Kill every process of a kind, as soon as there is one and a delay is over."""
        found = self.find((LOCAL_VICTIMS if self.mode == "local" else RAY_VICTIMS)[victim])
        time.sleep(delay_s)
        self.family.update(self.children())
        self.hit.update(found)
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
            if found := [child for child in found if child not in self.hit]:
                return found
            assert self.process.poll() is None, f"no {name!r}: {self.log.read_text()}"
            time.sleep(0.02)
        raise AssertionError(f"no {name!r} within {PATIENCE_S} s: {self.log.read_text()}")

    def children(self):
        with suppress(psutil.NoSuchProcess):
            return psutil.Process(self.process.pid).children(recursive=True)
        return []

    def end(self):
        """The exit code, and what was written; nothing lives on."""
        for _ in self.lines:  # a full pipe would stop the driver
            pass
        self.lines.close()
        code, deadline = self.process.wait(PATIENCE_S), time.monotonic() + 60
        while left := self.left():
            assert time.monotonic() < deadline, [described(process) for process in left]
            time.sleep(0.2)
        return code, self.log.read_text()

    def left(self):
        """What the driver or anything of it started and is not over."""
        return {p for p in self.family | reaper.marked(self.mark) if not is_over(p)}


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


class Campaign:
    """Kills one after the other, in as few lives of drivers and as few runs as they need."""

    def __init__(self, mode, folder, recipe, unhurt, decided):
        self.mode, self.folder, self.unhurt, self.decided = mode, folder, unhurt, decided
        self.recipe = recipe.model_dump_json()
        self.runs, self.drive, self.killed = 0, None, None

    def meet(self, case):
        """Make a kill; the driver lives on if it should."""
        while not self.life().reach(case.phase, case.occurrence):
            self.end()
        self.drive.kill(case.victim, case.delay_s)
        self.killed = case
        print(f"{time.strftime('%X')} killed {case}")
        if case.victim not in OUTLIVED:
            self.end()

    def life(self):
        """The living driver, or a new one, which begins a run or goes on with one."""
        if self.drive is None:
            run = self.folder / str(self.runs)
            run.mkdir(exist_ok=True)
            (run / "recipe.json").write_text(self.recipe)
            self.drive, self.killed = Drive(run, self.mode), None
        return self.drive

    def end(self):
        """Wait for the driver's end, which must be a good one or told in one line."""
        drive, case = self.drive, self.killed
        code, told = drive.end()
        told = "\n".join(line for line in told.splitlines() if "Loading weights" not in line)
        print(f"{time.strftime('%X')} ended with {code}: {told}")
        self.drive = None
        if code == 0:
            assert self.decided(drive.folder / "run") == self.unhurt
            self.runs += 1
        elif SLOW_START in told:  # of a busy machine, not of a kill
            assert code == TRY_AGAIN, told
        else:
            assert case is not None, told
            assert code in case.codes, told
            lines = [line for line in told.splitlines() if line.startswith("error: ")]
            assert len(lines) == (code > 0), told
            assert "Traceback" not in told

    def finish(self):
        """Give the same command again until the run is done."""
        for _ in range(MOST_TRIES):
            self.life()
            self.end()
            if not (self.folder / str(self.runs)).exists():
                return
        raise AssertionError("the run never ends")


def survive(cases, *surroundings):
    campaign = Campaign(cases[0].mode, *surroundings)
    try:
        for case in cases:
            campaign.meet(case)
        if (campaign.folder / str(campaign.runs)).exists():
            campaign.finish()
    finally:
        if campaign.drive is not None:
            campaign.drive.process.kill()


@pytest.mark.campaign
@pytest.mark.ray
@pytest.mark.timeout(10 * PATIENCE_S)
@pytest.mark.parametrize("cases", CHAINS, ids=lambda cases: f"{cases[0].number}-{cases[-1].number}")
def test_runs_in_which_processes_are_killed_end_as_one_in_which_none_is(
    cases, tmp_path, recipe, unhurt, decided
):
    survive(cases, tmp_path, recipe, unhurt, decided)


def test_a_run_in_one_process_survives_kills(tmp_path, recipe, unhurt, decided):
    survive(CASES[:3], tmp_path, recipe, unhurt, decided)


IN_TURN = (
    ("engine", "rollout", 2),
    ("reward worker", "score", 1),
    ("learner", "learn", 1),
    ("raylet", "sync", 1),
)
"""Each in its phase, at its which time; the first three in one life."""
OF_RAY = (
    ("gcs", "rollout", 1),
    ("agent", "score", 1),
    ("driver", "learn", 2),
    ("command", "start", 1),
)


def survive_ahead(kills, tmp_path, make_quick, recipe, decided):
    """With two steps outstanding that engines were asked ahead of the learner."""
    cases = [Case(n, "ray", *each, 0.0) for n, each in enumerate(kills)]
    ahead = make_quick(train={"steps": 5, "eval_every": 2}, rollout={"max_lag": 2})
    short = recipe.model_copy(update={"train": ahead.train, "rollout": ahead.rollout})
    run_unhurt(short, tmp_path / "unhurt")
    survive(cases, tmp_path, short, decided(tmp_path / "unhurt"), decided)


@pytest.mark.ray
@pytest.mark.timeout(6 * PATIENCE_S)
def test_a_run_whose_actors_and_node_are_killed_in_turn_ends_as_one_in_which_none_is(
    tmp_path, make_quick, recipe, decided
):
    survive_ahead(IN_TURN, tmp_path, make_quick, recipe, decided)


@pytest.mark.campaign
@pytest.mark.ray
@pytest.mark.timeout(6 * PATIENCE_S)
def test_a_run_ahead_of_its_learner_survives_the_rest_of_its_cluster(
    tmp_path, make_quick, recipe, decided
):
    assert {victim for victim, *_ in (*IN_TURN, *OF_RAY)} == RAY_VICTIMS.keys()
    survive_ahead(OF_RAY, tmp_path, make_quick, recipe, decided)
