"""`python -m jobs.cli`, as `rlpeft`: what jobs are begun and begun again by."""

import sys

from jobs.cli import IN_A_JOB, main
from rlpeft.typed import COMMAND

if __name__ == "__main__":
    sys.argv[0] = COMMAND
    main(IN_A_JOB)
