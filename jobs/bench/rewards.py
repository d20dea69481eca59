"""Verification speed beside plain math-verify in one process, with and without hanging rows."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Sequence

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
        num_rows: ordinary rows in a batch; of as many, one in a hundred then hangs.
        repeats: of the ordinary batch. The hanging one runs once: a peer's stall is seconds.
        seed: of the answers.
    """
    # Fresh answers each time: neither side may live on what its caches remember.
    batches = [ordinary_answers(num_rows, seed=seed + n) for n in range(repeats + 1)]
    plain, mixed, peers = iter(batches), iter(map(_with_hangs, batches)), iter(batches)
    seconds = medians(
        interleave(
            {
                "ours, hanging": lambda: _ours(next(mixed)),
                "ours": lambda: _ours(next(plain)),
                "peer": lambda: _peer(next(peers)),
            },
            repeats=repeats,
        )
    )
    started = time.perf_counter()
    _peer(_with_hangs(batches[0]))
    stalled = num_rows / (time.perf_counter() - started)
    hung, ours, peer = (num_rows / s for s in seconds.values())
    cores = len(os.sched_getaffinity(0))
    return [
        _row("verifier, ordinary answers, isolation on", ours, peer, ours / peer, 0.8),
        _row(f"the same, of {cores} cores each", ours / cores, peer, ours / cores / peer, 0.4),
        _row("verifier, one row in 100 hangs", hung, stalled, hung / stalled, 1.0),
        _row("verifier, hanging rows against none (ours)", hung, ours, hung / ours, 0.8),
    ]


def _row(figure: str, ours: float, peer: float, ratio: float, goal: float) -> BenchRow:
    floor = "one process, no isolation: the peer"
    return BenchRow(figure, ours, peer, ratio, "rows/s", floor, f">= {goal:g} x", ratio >= goal)


def ordinary_answers(count: int, *, seed: int) -> list[Pair]:
    """Return completions as a model writes them: two in three right, the sets' usual mixture.

    Six in ten end in an integer (GSM8K), two in a fraction or decimal, two in algebra (MATH).
    """
    draw = random.Random(seed)
    return [_answer(draw) for _ in range(count)]


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


def _ours(pairs: Sequence[Pair]) -> None:
    verify_batch([text for text, _ in pairs], [gold for _, gold in pairs], policy="lenient")


def _peer(pairs: Sequence[Pair]) -> None:
    """Grade as math-verify's README does, in the main thread, with its own alarms."""
    from math_verify import parse, verify

    for text, gold in pairs:
        verify(parse(f"${gold}$"), parse(text))
