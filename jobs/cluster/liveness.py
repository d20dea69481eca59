"""Probes of what a driver cannot outlive: the head of its cluster, and the raylet of its node.

Ray gives such a driver a minute without a head and none without a raylet, and then ends it where
it stands: with exit code 1, as for a mistake, and without a word. It is ended here before that,
with a line and the code that says that the same command may succeed.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import NoReturn

import psutil
import ray
from ray.exceptions import RayError

from jobs.cluster.driver_exit import TRY_AGAIN
from jobs.cluster.driver_note import GO_ON, INTERVAL_S, Note, Probe, keep, tell
from jobs.cluster.ending import ENDING
from rlpeft.errors import ClusterError

HEAD_PATIENCE_S, OWN_HEAD_PATIENCE_S = 40.0, 4.0
"""How long a head may be silent; Ray itself gives up after 60 s."""

RAYLET_PATIENCE_S = 2.0
"""A raylet never comes back, but a signal that ended the driver too shall be told instead."""


@contextmanager
def watched() -> Iterator[None]:
    """Inside, this process, a driver that is connected, ends with a line when a probe fails."""
    ended = threading.Event()
    probes = (_raylet(ray.get_runtime_context().get_node_id()), _head())
    keep(Note(probes, are_ours=_has_own_head()))
    for probe in probes:
        threading.Thread(target=watch, args=(probe, ended), daemon=True).start()
    try:
        yield
    finally:
        ended.set()


def watch(probe: Probe, ended: threading.Event) -> None:
    """End this process with a line when a probe fails for too long."""
    answered = time.monotonic()
    while not ended.wait(INTERVAL_S):
        try:
            probe.ask()
            answered = time.monotonic()
        except OSError as error:
            silent_s = time.monotonic() - answered
            if silent_s > probe.patience_s and not ended.is_set():
                _end(probe, f"{silent_s:.0f} s ({error})")


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


def _head() -> Probe:
    host, _, port = ray.get_runtime_context().gcs_address.rpartition(":")
    # A head that this process started is never started again; another one may be.
    patience_s = OWN_HEAD_PATIENCE_S if _has_own_head() else HEAD_PATIENCE_S
    advice = f"Start it again if it is yours; {GO_ON}"
    return Probe("the Ray cluster's head", host.strip("[]"), int(port), patience_s, advice)


def _has_own_head() -> bool:
    return any(c.name() == "gcs_server" for c in psutil.Process().children(recursive=True))


@cache
def _raylet(node_id: str) -> Probe:
    try:
        (node,) = (node for node in ray.nodes() if node["NodeID"] == node_id)
    except (RayError, RuntimeError, ValueError) as error:
        raise ClusterError(f"the Ray cluster's head must know this node: {error}") from error
    logs = Path(ray._private.worker.global_worker.node.get_logs_dir_path())
    advice = f"Look at memory and at raylet.err in {logs}; {GO_ON}"
    return Probe(
        "this machine's raylet",
        node["NodeManagerAddress"],
        node["NodeManagerPort"],
        RAYLET_PATIENCE_S,
        advice,
        str(logs / "raylet.err"),
    )


def _end(probe: Probe, silence: str) -> NoReturn:
    if ENDING.is_set():  # a signal to the whole group ended it too, and has been told
        os._exit(128 + signal.SIGTERM)
    line = probe.missed(silence)
    # Ray may end this process before it has told anything.
    if not keep(Note(line=line), last=True):
        tell(line)
    os._exit(TRY_AGAIN)
