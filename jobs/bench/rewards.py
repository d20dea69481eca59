"""Verification speed beside plain math-verify in one process, with and without hanging rows.

Ours has its isolation on: what only a symbolic grader can decide goes to killable workers, which
the training policy never needs and the evaluation policy does.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable, Mapping, Sequence
from itertools import count

from jobs.bench.rows import BenchRow, interleave, medians
from rewards.verify import verify_batch

# Answers on which a symbolic grader works until something stops it.
_HANGING = (
    "\\boxed{9^{9^{9^{9}}}}",
    "\\boxed{1000000000!}",
    "\\boxed{\\sum_{k=1}^{10^{12}} \\frac{1}{k^k}}",
    "\\boxed{\\int_0^1 x^{x^{x^{x}}} dx}",
)
_HANG_EVERY = 100

Pair = tuple[str, str]
"""A completion and its gold answer."""


def rows(*, num_rows: int = 400, repeats: int = 5, seed: int = 0) -> list[BenchRow]:
    """Measure both graders on the same answers, in turns, medians of `repeats`.

    Args:
        num_rows: rows in a batch; with hangs, one in a hundred of them.
        repeats: of each batch but the peer's hanging one, which runs once: it stalls for long.
        seed: of the answers.
    """
    # Fresh answers at every turn of every side: none may live on what a cache remembers.
    draws = (ordinary_answers(num_rows, seed=seed + n) for n in count())
    hanging = (_with_hangs(batch) for batch in draws)
    sides: dict[str, Callable[[], None]] = {
        "strict": lambda: _ours(next(draws), policy="strict"),
        "strict, hangs": lambda: _ours(next(hanging), policy="strict"),
        "lenient": lambda: _ours(next(draws), policy="lenient"),
        "lenient, hangs": lambda: _ours(next(hanging), policy="lenient"),
        "peer": lambda: _peer(next(draws)),
    }
    rate = {name: num_rows / s for name, s in medians(interleave(sides, repeats=repeats)).items()}
    started = time.perf_counter()
    _peer(next(hanging))
    rate["peer, hangs"] = num_rows / (time.perf_counter() - started)
    return _figures(rate)


def _figures(rate: Mapping[str, float]) -> list[BenchRow]:
    cores = len(os.sched_getaffinity(0))
    peer, stalled = rate["peer"], rate["peer, hangs"]
    return [
        _row("training policy, ordinary answers", rate["strict"], peer, 0.8),
        _row("training policy, per core", rate["strict"] / cores, peer, 0.8),
        _row("evaluation policy, ordinary answers", rate["lenient"], peer, 0.8),
        _row("training policy, 1 row in 100 hangs", rate["strict, hangs"], stalled, 1.0),
        _row("the same, peer without hangs", rate["strict, hangs"], peer, 1.0),
        _row("the same, ourselves without hangs", rate["strict, hangs"], rate["strict"], 0.8),
        _row("evaluation policy, 1 row in 100 hangs", rate["lenient, hangs"], stalled, 1.0),
        _row("the same, peer without hangs", rate["lenient, hangs"], peer, 0.8),
    ]


def _row(figure: str, ours: float, peer: float, goal: float) -> BenchRow:
    ratio = ours / peer
    return BenchRow(figure, ours, peer, ratio, "rows/s", "none", f">= {goal:g} x", ratio >= goal)


def ordinary_answers(num_rows: int, *, seed: int) -> list[Pair]:
    """Return completions as a model writes them: two in three right, the sets' usual mixture.

    Six in ten end in an integer (GSM8K), two in a fraction or decimal, two in algebra (MATH).
    """
    draw = random.Random(seed)
    return [_answer(draw) for _ in range(num_rows)]


def _answer(draw: random.Random) -> Pair:
    kind = draw.choice("iiiiiiffaa")
    a, b, c = draw.randint(2, 60), draw.randint(2, 60), draw.randint(2, 9)
    gold, same, other = {
        "i": (str(a * b), f"{a * b:,}", str(a * b + c)),
        "f": (f"\\frac{{{a}}}{{{c}}}", f"{a}/{c}", f"\\frac{{{a + 1}}}{{{c}}}"),
        "a": (f"{a}x^2+{b}x", f"x({a}x + {b})", f"{a}x^2-{b}x"),
    }[kind]
    said = draw.choice([gold, same, other])
    steps = " ".join(
        f"Step {n}: we multiply {draw.randint(2, 99)} by {draw.randint(2, 99)} and go on."
        for n in range(1, 9)
    )
    return f"{steps}\nTherefore the answer is $\\boxed{{{said}}}$.", gold


def _with_hangs(pairs: Sequence[Pair]) -> list[Pair]:
    mixed = list(pairs)
    for number, row in enumerate(range(_HANG_EVERY // 2, len(mixed), _HANG_EVERY)):
        mixed[row] = (_HANGING[number % len(_HANGING)], mixed[row][1])
    return mixed


def _ours(pairs: Sequence[Pair], *, policy: str) -> None:
    verify_batch([text for text, _ in pairs], [gold for _, gold in pairs], policy=policy)


def _peer(pairs: Sequence[Pair]) -> None:
    """Grade as math-verify's README does, in the main thread, with its own alarms."""
    from math_verify import parse, verify

    for text, gold in pairs:
        verify(parse(f"${gold}$"), parse(text))
