"""Which cluster a driver joins: known before Ray is asked, and told before a run goes on there.

Ray takes any cluster it finds on this machine, and tries for minutes where one is only half alive:
a head that answers no question is asked 20 times, 41 s each, a node that is gone is looked for
for 60 s. What can be seen from outside is looked at here first.
"""

from __future__ import annotations

import os
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from tempfile import TemporaryFile
from typing import NamedTuple

import ray
from ray._private.ray_constants import RAY_ADDRESS_ENVIRONMENT_VARIABLE
from ray._private.utils import read_ray_address

from jobs.cluster.addresses import REACH_TIMEOUT_S, head_of, local_nodes, speaks_http
from jobs.cluster.driver_note import Note, keep
from rlpeft.errors import ClusterError
from rlpeft.shadow import is_our_program
from rlpeft.terminal import note
from rlpeft.typed import program, this_command

HERE = "found on this machine"
"""Why a cluster is joined that nobody has named."""

NODE_WAIT_S = 10.0
"""How long a node that is just starting may take to be there."""

JOB = "RAY_JOB_CONFIG_JSON_ENV_VAR"
"""Is set in what was submitted to a cluster."""

HEAD_TRIES = "RAY_gcs_server_port_wait_time_s"
"""How often Ray asks a head that does not answer, whatever the name says; 20 if unset."""


class FoundCluster(NamedTuple):
    """One that runs.

    Attributes:
        head: its address, `host:port`.
        why: it is this one.
    """

    head: str
    why: str

    def __str__(self) -> str:
        return f"the Ray cluster at {self.head}, {self.why}"


def cluster_to_join(address: str | None) -> FoundCluster | None:
    """The cluster that Ray would join; `None` where it starts one on this machine.

    Args:
        address: see `jobs.cluster.connect.connected`; `local` is always a new one.

    Raises:
        ClusterError: nobody listens at the address, or `auto` finds none.
    """
    why = "named by --address"
    if address in (None, "auto") and (named := os.environ.get(RAY_ADDRESS_ENVIRONMENT_VARIABLE)):
        is_job = JOB in os.environ
        address, why = named, "to which this job was sent" if is_job else "named by RAY_ADDRESS"
    if address == "local":
        return None
    if address not in (None, "auto"):
        return FoundCluster(_head(address), why)
    recorded, running = read_ray_address(), sorted({head for _, head in local_nodes() if head})
    if address == "auto" and running and (recorded is None or len(running) == 1):
        recorded = running[0]
    if recorded is None and address == "auto":
        raise ClusterError(_no_cluster("a Ray cluster must answer on this machine", "none"))
    return FoundCluster(recorded, HERE) if recorded else None


def _head(address: str) -> str:
    """The head's address; fails at once where nobody listens."""
    if address.startswith(("http://", "https://")):
        return head_of(address)
    place = address.removeprefix("ray://")
    if not place.rpartition(":")[2].isdigit():
        return address
    try:
        touch(place)
    except OSError as error:
        wanted = f"a Ray cluster must answer at {place}"
        raise ClusterError(_no_cluster(wanted, str(error))) from error
    return head_of(f"http://{place}") if speaks_http(place) else address


def touch(place: str) -> None:
    """Raises: OSError: nobody listens at `host:port`."""
    host, _, port = place.rpartition(":")
    socket.create_connection((host.strip("[]"), int(port)), timeout=REACH_TIMEOUT_S).close()


def require_alive(cluster: FoundCluster, *, wait_s: float = NODE_WAIT_S) -> None:
    """Refuse a cluster that no driver can join from here, before Ray waits for it.

    Args:
        wait_s: how long a node of it may take to appear.

    Raises:
        ClusterError: nobody listens at its head, or no node of it runs on this machine.
    """
    port = cluster.head.rpartition(":")[2]
    if "://" in cluster.head or not port.isdigit():
        return
    try:
        touch(cluster.head)
    except OSError as error:
        raise ClusterError(
            f"{cluster}, must answer, got: {error}. {how_to_go_on(cluster)}"
        ) from error
    deadline = time.monotonic() + wait_s
    # By the port alone: a host has several names.
    while not any(head.rpartition(":")[2] == port for _, head in local_nodes()):
        if time.monotonic() > deadline:
            raise ClusterError(
                f"{cluster}, must have a living node on this machine, it has none: its raylet has "
                f"ended, or was never started. {how_to_go_on(cluster)}"
            )
        time.sleep(0.2)


def how_to_go_on(cluster: FoundCluster) -> str:
    """With or without a cluster that does not let this machine join."""
    mend = f"Join it from here: ray start --address {cluster.head}"
    if cluster.why == HERE:
        mend = "End what is left of it: ray stop"
    return f"{mend}; or run without a cluster: {without_cluster()}"


def _no_cluster(wanted: str, got: str) -> str:
    """The line on a cluster that is not there, or does not start."""
    return (
        f"{wanted}, got: {got}. Start one with `ray start --head`, correct --address, or run "
        f"without a cluster: {without_cluster()}"
    )


def without_cluster() -> str:
    """The command that runs, in the form that needs no cluster, or one that does."""
    name, *words = sys.argv or [""]
    kept = [
        word
        for word, before in zip(words, ["", *words], strict=False)
        if not word.startswith("--address") and before != "--address"
    ]
    command = words[0] if words else ""
    if is_our_program(name) and (command == "train" or name.endswith("train.py")):
        return this_command([name, *kept, "--local"])
    if is_our_program(name) and command == "evaluate":
        return this_command([name, *kept])
    return f"{program()} adapt RECIPE" if command == "cem" else f"{program()} train RECIPE --local"


def tell_joined(cluster: FoundCluster) -> None:
    """Say where the run goes, in a driver that has just joined."""
    number = sum(node["Alive"] for node in ray.nodes())
    where = f"on {cluster} ({number} node{'s' if number != 1 else ''})"
    if cluster.why == HERE:
        note(f"{where}. Without it:", without_cluster())
    else:
        note(where)


def tell_started() -> None:
    """Say, before it takes its time, that a cluster is started for this run."""
    note("starting Ray on this machine, for this run alone. Without it:", without_cluster())


@contextmanager
def joining(cluster: FoundCluster) -> Iterator[None]:
    """Inside, Ray joins a cluster: who attends this process tells of a wait, and bounds it.

    Ray waits without letting any other thread of this process run. What it prints where it cannot
    join says less than our one line: it is shown only where something else goes wrong.
    """
    before = os.environ.get(HEAD_TRIES)
    os.environ.setdefault(HEAD_TRIES, "1")
    keep(Note(joining=f"{cluster},", mend=how_to_go_on(cluster)))
    try:
        with _kept_back():
            yield
    finally:
        keep(Note())
        if before is None:
            del os.environ[HEAD_TRIES]


@contextmanager
def _kept_back() -> Iterator[None]:
    """Keep back what libraries print on the error stream, unless a defect ends the block."""
    sys.stderr.flush()
    shown = os.dup(2)
    with TemporaryFile() as kept:
        os.dup2(kept.fileno(), 2)
        try:
            yield
        except ClusterError:
            raise
        except BaseException:
            kept.seek(0)
            os.write(shown, kept.read())
            raise
        finally:
            sys.stderr.flush()
            os.dup2(shown, 2)
            os.close(shown)
