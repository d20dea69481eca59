"""A driver that says on a pipe what it is about to do, so that a test can kill in that moment.

python tests/faults/driver.py RECIPE.json OUT ray|local PIPE
"""

import os
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

from jobs.cluster.driver_exit import begin_anew
from jobs.cluster.driver_note import mine
from jobs.cluster.ending import end_in_one_line, exit_code, in_one_line
from jobs.cluster.reaper import start_reaper
from rlpeft.recipe.run import load_recipe

PHASES = {
    "fleet": {"sync": "sync", "publish": "sync", "stream": "rollout"},
    "scorer": {"score": "score", "begin": "score"},
    "learner": {"step": "learn", "state_dict": "save"},
    "recorder": {"completions": "record"},
}


class Announced:
    """Another object, whose calls are announced by the names of their phases."""

    def __init__(self, inner, phases, announce):
        self._inner, self._phases, self._announce = inner, phases, announce

    def __getattr__(self, name):
        method = getattr(self._inner, name)
        return partial(self._call, name, method) if name in self._phases else method

    def _call(self, name, method, *arguments):
        self._announce(self._phases[name])
        return method(*arguments)


def main(recipe_path, out, mode, pipe):
    if mode == "ray":  # as `rlpeft train` does, whose parent process imports nothing large
        if mine() is None:
            sys.exit(begin_anew())
        start_reaper()
    end_in_one_line()
    try:
        drive(load_recipe(Path(recipe_path)), Path(out), mode, int(pipe))
    except Exception as error:
        line = in_one_line(error)
        if line is None:
            raise
        print(line, file=sys.stderr)
        sys.exit(exit_code(error))


def drive(recipe, out, mode, pipe):
    from jobs.cluster.parts import on_ray
    from rlpeft.program.parts import HERE
    from rlpeft.program.run import reinforce, run

    def announce(phase):
        os.write(pipe, f"{phase}\n".encode())

    def loop(this, on_step):
        parts = {
            name: Announced(getattr(this, name), phases, announce)
            for name, phases in PHASES.items()
        }
        reinforce(replace(this, **parts), on_step)
        announce("test")

    announce("start")
    run(recipe, out, venue=on_ray() if mode == "ray" else HERE, loop=loop)


if __name__ == "__main__":
    main(*sys.argv[1:])
