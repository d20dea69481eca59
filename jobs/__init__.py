"""Composition roots: the only package that imports Ray."""

import rlpeft as rlpeft  # which looks for what would hide `rewards`, before a program fails by it
