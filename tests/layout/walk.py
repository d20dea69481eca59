"""The way of a recipe: what it passes through between `rlpeft train` and the optimizer step.

    python tests/layout/walk.py RECIPE [--ray] [--set section.key=value ...]

Trains in earnest, with every call of ours watched, until the first optimizer step. The way is
the functions that are given the recipe, a section of it, or an object that holds one (their own
object, a record, a `partial`), those that give it back, and those that are open when the optimizer
steps; each once, in the order in which they are first called. What runs while a module is imported
is not on the way.

    files    where these functions are
    climbs   where the next function of the way is on a higher floor than the one before: a reader
             who follows the recipe has to look up again
    upward   calls of a lower floor into a higher one, among all calls, of the way or not; the
             caller is the nearest function of ours, for libraries between are looked through

With Ray, the driver's way and that of the learner's actor are one, by the clock.
"""

from __future__ import annotations

import inspect
import json
import os
import sys
import tempfile
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from itertools import pairwise
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
OURS = ("rewards", "rlpeft", "jobs")
SECTIONS = ("rlpeft.recipe",)
"""Where a recipe's sections are defined."""

ARRIVED = "Optimizer.profile_hook_step.<locals>.wrapper"
"""What torch calls a step of any optimizer."""

PATIENCE_S = 300.0
"""How long Ray may take to the learner's first step."""


@dataclass
class Call:
    """A function of ours that was called.

    Attributes:
        at: when it was first.
        name: `path:qualified.name`, as those of its callers.
        has: whether it was given the recipe or a part of it, or gave it back.
    """

    at: float
    name: str
    callers: dict[str, None] = field(default_factory=dict)
    has: bool = False

    @property
    def file(self) -> str:
        """Where it is."""
        return file_of(self.name)


def file_of(function: str) -> str:
    """Its path below the root."""
    return function.partition(":")[0]


class Arrived(BaseException):
    """The optimizer steps."""


class Walk:
    """Watches this thread from now until the optimizer steps."""

    def __init__(self, root: Path = ROOT, sections: tuple[str, ...] = SECTIONS) -> None:
        self.root, self.sections = root, sections
        self.calls: dict[CodeType, Call] = {}
        self._inside = tuple(f"{root}/{name}/" for name in OURS)
        sys.setprofile(self.see)

    def way(self) -> list[Call]:
        """What has the recipe, or is open at the end."""
        return [call for call in self.calls.values() if call.has]

    def see(self, frame: FrameType, event: str, value: object) -> None:
        """What the interpreter calls with every call and return.

        Raises:
            Arrived: the optimizer steps; nothing is watched any more.
        """
        code = frame.f_code
        if event == "call" and code.co_qualname == ARRIVED:
            sys.setprofile(None)
            for caller in self._callers(frame) or ():
                self.calls[caller.f_code].has = True
            raise Arrived
        if not self._is_function(code):
            return
        if event == "call" and (callers := self._callers(frame, most=1)) is not None:
            if (call := self.calls.get(code)) is None:
                call = self.calls[code] = Call(time.monotonic(), self._name(code))
            call.callers |= dict.fromkeys(self._name(caller.f_code) for caller in callers)
            call.has = call.has or self._is_given(frame)
        elif event == "return" and code in self.calls and self._is_part(value):
            self.calls[code].has = True

    def _callers(self, frame: FrameType, most: int = 1000) -> list[FrameType] | None:
        """The functions of ours that are open, innermost first; `None` within an import."""
        found: list[FrameType] = []
        while (before := frame.f_back) is not None and len(found) < most:
            frame = before
            if frame.f_code.co_filename.startswith("<frozen importlib"):
                return None
            if self._is_function(frame.f_code):
                found.append(frame)
        return found

    def _is_function(self, code: CodeType) -> bool:
        """Of ours, and no body of a module or class."""
        return code.co_filename.startswith(self._inside) and bool(
            code.co_flags & inspect.CO_OPTIMIZED
        )

    def _name(self, code: CodeType) -> str:
        return f"{Path(code.co_filename).relative_to(self.root)}:{code.co_qualname}"

    def _is_given(self, frame: FrameType) -> bool:
        code = frame.f_code
        names = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
        given = [frame.f_locals.get(name) for name in names]
        return any(self._is_part(v) or any(map(self._is_part, held_by(v))) for v in given)

    def _is_part(self, value: object) -> bool:
        kind = type(value)
        return kind.__module__.startswith(self.sections) and hasattr(kind, "model_fields")


def held_by(value: object) -> Iterable[object]:
    """What a small record holds: a tuple, a `partial`, an object of ours."""
    if isinstance(value, tuple):
        return value
    if isinstance(value, partial):
        return [*value.args, *value.keywords.values()]
    if not type(value).__module__.startswith(OURS):
        return ()
    slots = getattr(type(value), "__slots__", ())
    return [*getattr(value, "__dict__", {}).values(), *(getattr(value, s, None) for s in slots)]


def floor_of(file: str, floors: Mapping[str, float]) -> float:
    """Of a file, by the longest name that holds its module."""
    module = file.removesuffix(".py").replace("/", ".").removesuffix(".__init__") + "."
    return floors[max((place for place in floors if module.startswith(f"{place}.")), key=len)]


def counted(way: Sequence[Call], calls: Iterable[Call], floors: Mapping[str, float]) -> dict:
    """The way, its files and climbs, in the order in which they are met."""
    climbs = [
        (before.name, after.name)
        for before, after in pairwise(way)
        if floor_of(after.file, floors) > floor_of(before.file, floors)
    ]
    upward = [
        (caller, call.name)
        for call in calls
        for caller in call.callers
        if floor_of(call.file, floors) > floor_of(file_of(caller), floors)
    ]
    files = list(dict.fromkeys(call.file for call in way))
    names = [call.name for call in way]
    return {
        "calls": len(way),
        "way": names,
        "files": files,
        "climbs": climbs,
        "upward": upward,
    }


def train(recipe: str, changes: Sequence[str], folder: str, *, ray: bool) -> None:
    """`rlpeft train`, until the walk is at its end."""
    from jobs.cli import main

    options = [word for change in changes for word in ("--set", change)]
    sys.argv = ["walk.py", "train", recipe, "--out", f"{folder}/run", *options]
    sys.argv += [] if ray else ["--local"]
    try:
        main()
    except (Arrived, SystemExit, KeyboardInterrupt):
        return


def walk_here(recipe: str, changes: Sequence[str]) -> tuple[list[Call], list[Call]]:
    """The way and all calls of a run in this process."""
    with tempfile.TemporaryDirectory() as folder:
        walk = Walk()
        train(recipe, changes, folder, ray=False)
    if sys.getprofile() is not None:
        sys.exit("the run ended before the optimizer's first step")
    return walk.way(), [*walk.calls.values()]


AT_START = """import os, sys
if any(word.endswith("default_worker.py") for word in sys.orig_argv):
    sys.path.append(os.environ["WALK_CODE"])
    import walk
    walk.watch_learner(os.environ["WALK_NOTES"])
"""
"""Python runs this in Ray's workers, as `sitecustomize`."""


def watch_learner(notes: str) -> None:
    """Leave the walk of this process in a file, if it comes to an optimizer step."""
    walk = Walk()

    def see(frame: FrameType, event: str, value: object) -> None:
        try:
            walk.see(frame, event, value)
        except Arrived:
            calls = [asdict(call) for call in walk.calls.values()]
            Path(notes, "partial").write_text(json.dumps({"at": time.monotonic(), "calls": calls}))
            Path(notes, "partial").rename(Path(notes, "learner.json"))

    sys.setprofile(see)


def walk_with_ray(recipe: str, changes: Sequence[str]) -> tuple[list[Call], list[Call]]:
    """The way and all calls of driver and learner."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "sitecustomize.py").write_text(AT_START)
        os.environ["WALK_CODE"], os.environ["WALK_NOTES"] = str(Path(__file__).parent), folder
        paths = [folder, str(ROOT), os.environ.get("PYTHONPATH", "")]
        os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
        notes = Path(folder, "learner.json")
        threading.Thread(target=_end_when_there, args=(notes,), daemon=True).start()
        walk = Walk()
        train(recipe, changes, folder, ray=True)
        sys.setprofile(None)
        found: dict[str, Any] = json.loads(notes.read_text())
    own = [call for call in walk.calls.values() if call.at < found["at"]]
    calls = [*own, *(Call(**call) for call in found["calls"])]
    calls.sort(key=lambda call: call.at)  # the clock is one for the whole machine
    return [call for call in calls if call.has], calls


def _end_when_there(notes: Path) -> None:
    import _thread

    deadline = time.monotonic() + PATIENCE_S
    while not notes.exists() and time.monotonic() < deadline:
        time.sleep(0.2)
    _thread.interrupt_main()


def main() -> None:
    """Walk and print."""
    import argparse

    sys.path.insert(0, str(Path(__file__).parent))
    from test_architecture import FLOORS

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("recipe")
    parser.add_argument("--ray", action="store_true")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--set", action="append", default=[], dest="changes")
    asked = parser.parse_args()
    way, calls = (walk_with_ray if asked.ray else walk_here)(asked.recipe, asked.changes)
    found = counted(way, calls, FLOORS)
    if asked.json:
        print(json.dumps(found))
        return
    for call in way:
        print(f"{floor_of(call.file, FLOORS):>4}  {call.name}")
    for name in ("climbs", "upward"):
        print(f"\n{name}:", *(f"{a}  ->  {b}" for a, b in found[name]), sep="\n  ")
    print(
        f"\n{found['calls']} calls through {len(found['files'])} files, "
        f"{len(found['climbs'])} climbs; {len(found['upward'])} upward calls among {len(calls)}"
    )


if __name__ == "__main__":
    main()
