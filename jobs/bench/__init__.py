"""Measured figures: each a row with its peer, the floor it cannot pass and the goal it must meet.

    rlpeft bench              every bench
    rlpeft bench learner      one of them

A bench is a module here with `rows(**options)`, which gives each `BenchRow` as soon as it is
measured. Both sides are timed in one run, several repeats interleaved, medians compared.
"""

BENCHES = {
    "geometric": 17,
    "learner": 17,
    "pipeline": 2,
    "sync": 5,
    "rewards": 1,
    "cem": 2,
    "serve": 5,
    "users": 11,
    "scale": 25,
}
"""Name to the minutes it takes on two cores."""
