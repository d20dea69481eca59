"""What a policy talks to before it answers: tools, second chances, and worlds of a user's own.

base        what an environment is, and what it may answer
registry    those that are built in, and how a name leads to one
calculator  python  retry     one file each
process     what a conversation calls: texts in, answers out, time limits
host        the process they run in: `python -m rewards.environments.host`
"""
