"""The single checks of `rlpeft doctor`: each looks at one part of a run and says what it found.

A check does not raise for what it looks for; it gives rows. `fail` is what would stop the run or
make its result worthless, `warn` what a person should know before a long run.
"""
