"""The user's own rewards, in a process of their own: this side of it, and that one.

process   what a scorer calls: batches in, verdicts out, time limits
child     the process as its parent sees it
wire      what goes between the two
host      the process itself: `python -m rewards.hosted.host`
"""
