"""What a driver cannot outlive: the head of its cluster, and the raylet of its own node.

Ray gives such a driver a minute without a head and none without a raylet, and then ends it where
it stands: with exit code 1, as for a mistake, and without a word. It is ended here before that,
with a line and the code that says that the same command may succeed.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from typing import NamedTuple, NoReturn

import psutil
import ray
from ray.exceptions import RayError

from jobs.command import ENDING, TRY_AGAIN
from rlpeft.errors import ClusterError

INTERVAL_S = 1.0
"""How often each is asked, and how long it may take to answer."""

HEAD_PATIENCE_S, OWN_HEAD_PATIENCE_S = 40.0, 4.0
"""How long a head may be silent; Ray itself gives up after 60 s."""

RAYLET_PATIENCE_S = 2.0
"""A raylet never comes back, but a signal that ended the driver too shall be told instead."""

GO_ON = "the same command continues the run from its newest checkpoint."


class Lifeline(NamedTuple):
    """Something that must answer at a port, for as long as it is silent for `patience_s` at most.

    Attributes:
        what: names it, at the beginning of an error's line.
        advice: how to mend its absence, at the end.
    """

    what: str
    host: str
    port: int
    patience_s: float
    advice: str

    def ask(self) -> None:
        """Raises: OSError: it does not answer."""
        socket.create_connection((self.host, self.port), timeout=INTERVAL_S).close()


@contextmanager
def watched() -> Iterator[None]:
    """Inside, this process, a driver that is connected, ends with a line when a lifeline does."""
    ended = threading.Event()
    for lifeline in (_head(), _raylet(ray.get_runtime_context().get_node_id())):
        threading.Thread(target=watch, args=(lifeline, ended), daemon=True).start()
    try:
        yield
    finally:
        ended.set()


def watch(lifeline: Lifeline, ended: threading.Event) -> None:
    """End this process with a line when a lifeline is silent for too long."""
    answered = time.monotonic()
    while not ended.wait(INTERVAL_S):
        try:
            lifeline.ask()
            answered = time.monotonic()
        except OSError as error:
            silent_s = time.monotonic() - answered
            if silent_s > lifeline.patience_s and not ended.is_set():
                _end(lifeline, f"{silent_s:.0f} s ({error})")


def end_without_raylet(*, ask_head: bool = False) -> None:
    """End this process with a line if the raylet of its node is gone.

    To be called before anything that uses the object store, where Ray would end this process, and
    after the loss of an actor, which may be the first sign.

    Args:
        ask_head: believe the head, too: it knows of a raylet that is still closing its port.
    """
    node_id = ray.get_runtime_context().get_node_id()
    raylet = _raylet(node_id)
    try:
        raylet.ask()
    except ConnectionRefusedError as error:
        _end(raylet, f"a moment ({error})")
    except OSError:  # too busy to answer, or this process is
        pass
    if ask_head and not _is_alive(node_id):
        _end(raylet, "some time (the head counts this node as dead)")


def _is_alive(node_id: str) -> bool:
    with suppress(RayError, RuntimeError):  # a head that does not answer has a watcher of its own
        return all(node["Alive"] for node in ray.nodes() if node["NodeID"] == node_id)
    return True


def _head() -> Lifeline:
    host, _, port = ray.get_runtime_context().gcs_address.rpartition(":")
    # A head that this process started is never started again; another one may be.
    is_ours = any(c.name() == "gcs_server" for c in psutil.Process().children(recursive=True))
    patience_s = OWN_HEAD_PATIENCE_S if is_ours else HEAD_PATIENCE_S
    advice = f"Start it again if it is yours; {GO_ON}"
    return Lifeline("the Ray cluster's head", host.strip("[]"), int(port), patience_s, advice)


@cache
def _raylet(node_id: str) -> Lifeline:
    try:
        (node,) = (node for node in ray.nodes() if node["NodeID"] == node_id)
    except (RayError, RuntimeError, ValueError) as error:
        raise ClusterError(f"the Ray cluster's head must know this node: {error}") from error
    advice = f"Look at memory and at raylet.err in Ray's logs on this machine; {GO_ON}"
    host, port = node["NodeManagerAddress"], node["NodeManagerPort"]
    return Lifeline("this machine's raylet", host, port, RAYLET_PATIENCE_S, advice)


def _end(lifeline: Lifeline, silence: str) -> NoReturn:
    if ENDING.is_set():  # a signal to the whole group ended it too, and has been told
        os._exit(128 + signal.SIGTERM)
    print(
        f"error: {lifeline.what} must answer at {lifeline.host}:{lifeline.port}, it has been gone "
        f"for {silence}. {lifeline.advice}",
        file=sys.stderr,
        flush=True,
    )
    os._exit(TRY_AGAIN)
