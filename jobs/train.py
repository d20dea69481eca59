"""Train an expert on a Ray cluster, or with `--local` in this process; see `rlpeft.program.run`.

    python -m jobs.train RECIPE [--set section.key=value ...] [--out DIR] [--address ADDR] [--local]

The module is what jobs and their retries are started by; `rlpeft train` is the same command.
"""

if __name__ == "__main__":
    from jobs.cli.train import main

    main()
