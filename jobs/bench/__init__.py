"""Measured figures: each a row with its peer, the floor it cannot pass and the goal it must meet.

    rlpeft bench              every bench
    rlpeft bench learner      one of them

A bench is a module here with `rows(**options)`, which gives each `BenchRow` as soon as it is
measured, and `MINUTES` which that takes on two cores. Both sides are timed in one run, several
repeats interleaved, medians compared.
"""

BENCHES = {
    "geometric": "jobs.bench.geometric",
    "learner": "jobs.bench.learner",
    "pipeline": "jobs.bench.pipeline",
    "sync": "jobs.bench.sync",
    "rewards": "jobs.bench.rewards",
    "cem": "jobs.bench.cem",
    "serve": "jobs.bench.serve",
}
"""Name to module; imported when asked for."""
