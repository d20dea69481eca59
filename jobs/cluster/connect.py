"""Ray, as far as a run needs it: connect, reserve with a deadline, fetch with plain errors."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import ray
from ray.exceptions import AuthenticationError, GetTimeoutError, RayError, RayTaskError
from ray.util.placement_group import PlacementGroup, placement_group, remove_placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from jobs.cluster.addresses import TOKEN_COMMANDS
from jobs.cluster.driver_note import dependent
from jobs.cluster.joining import (
    HERE,
    cluster_to_join,
    how_to_go_on,
    joining,
    require_alive,
    tell_joined,
    tell_started,
    touch,
    without_cluster,
)
from jobs.cluster.liveness import end_without_raylet, watched
from rlpeft.errors import ClusterError
from rlpeft.recipe.run import ResourceConfig

REFUSALS = (AuthenticationError, ConnectionError, ValueError, RuntimeError)
"""What Ray raises where it cannot connect or start; other errors are defects."""

SLOW_START = "this machine must start a node of Ray within Ray's own limit of 30 s, got"
ONCE_MORE = "Is it busy, or short of memory? Give the same command again"


@contextmanager
def connected(address: str | None) -> Iterator[None]:
    """Be connected to a cluster; what was connected or started here ends here.

    Args:
        address: of the cluster's head, `host:port`, or of its dashboard, `http://host:port`,
            `auto` or `local`. If absent: the cluster this process was submitted to, or one running
            on this machine, or a new one on this machine. Which it is, the error stream tells.

    Raises:
        ClusterError: no cluster there, it wants a token, or it has no node on this machine.
    """
    if ray.is_initialized():
        yield
        return
    with dependent(), _joined(address):
        yield


@contextmanager
def _joined(address: str | None) -> Iterator[None]:
    before = signal.getsignal(signal.SIGTERM)
    cluster = cluster_to_join(address)
    if cluster is None:
        tell_started()
        # Ray starts workers at 15, which on a machine that has other work to do may be never.
        os.environ.setdefault("RAY_worker_niceness", "0")
        advice = f"{ONCE_MORE}, or run without a cluster: {without_cluster()}"
        _start(address, "a Ray cluster of this machine must start", advice)
    else:
        with joining(cluster):
            require_alive(cluster)
            # Only for one that it finds itself Ray takes a token that is kept on this machine.
            _start(
                address if cluster.why == HERE else cluster.head,
                f"{cluster}, must answer",
                how_to_go_on(cluster),
            )
        tell_joined(cluster)
    if threading.current_thread() is threading.main_thread():
        # Ray's own handler, in C++, ends the process with a stack of machine addresses.
        signal.signal(signal.SIGTERM, before)
    try:
        with watched():
            yield
    finally:
        ray.shutdown()


def _start(address: str | None, wanted: str, advice: str) -> None:
    try:
        ray.init(
            address=address,
            include_dashboard=False,
            log_to_driver=False,
            logging_level="error",
        )
    except REFUSALS as error:
        # Beside a head that answers, Ray keeps no more of it than the text of a traceback.
        if any(AuthenticationError.__name__ in repr(each) for each in _causes(error)):
            line = f"{wanted}, it wants another token. {TOKEN_COMMANDS} Or run without a cluster:"
            raise ClusterError(f"{line} {without_cluster()}") from error
        raise ClusterError(f"{wanted}, got: {first_line(error)}. {advice}") from error
    except Exception as error:
        if type(error) is not Exception:  # Ray raises that class itself where a node starts slowly
            raise
        raise ClusterError(f"{SLOW_START}: {first_line(error)}. {advice}") from error


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__


def is_listening(place: str) -> bool:
    """Whether anything listens at `host:port`."""
    try:
        touch(place)
    except OSError:
        return False
    return True


def bundles_of(resources: ResourceConfig, num_engines: int) -> list[dict[str, float]]:
    """What to reserve: each learner rank, then each engine, then each reward worker."""
    learner = _bundle(resources.learner_cpus, resources.learner_gpus)
    engine = _bundle(resources.engine_cpus, resources.engine_gpus)
    reward = _bundle(1, resources.reward_gpus)
    learners, workers = resources.learners, resources.reward_workers
    return [*[learner] * learners, *[engine] * num_engines, *[reward] * workers]


def _bundle(cpus: float, gpus: float) -> dict[str, float]:
    return {"CPU": cpus, "GPU": gpus} if gpus else {"CPU": cpus}


@contextmanager
def reserved(bundles: Sequence[dict[str, float]], *, timeout_s: float) -> Iterator[PlacementGroup]:
    """Hold resources on the cluster.

    Raises:
        ClusterError: they were not free within `timeout_s`, or this machine alone, which cannot
            grow, has not as many; says what is asked and what there is.
    """
    asked, has = _asked(bundles), ray.cluster_resources()
    if _started_here() and any(asked[kind] > has.get(kind, 0) for kind in asked):
        raise ClusterError(_unplaced(bundles, 0.0))
    group = placement_group(list(bundles), strategy="PACK")
    try:
        started = time.monotonic()
        if not group.wait(timeout_s):
            raise ClusterError(_unplaced(bundles, time.monotonic() - started))
        yield group
    finally:
        remove_placement_group(group)


def _started_here() -> bool:
    """Whether this process has started the cluster it is connected to."""
    node = ray._private.worker._global_node
    return bool(node is not None and node.head)


def _asked(bundles: Sequence[dict[str, float]]) -> dict[str, float]:
    """Of each kind, by all bundles together."""
    return {kind: sum(bundle.get(kind, 0) for bundle in bundles) for kind in ("CPU", "GPU")}


def _unplaced(bundles: Sequence[dict[str, float]], waited_s: float) -> str:
    asked = _asked(bundles)
    has, free = ray.cluster_resources(), ray.available_resources()
    kinds = [
        f"{kind}: {asked[kind]:g} asked, {has.get(kind, 0):g} there, {free.get(kind, 0):g} free"
        for kind in asked
        if asked[kind]
    ]
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    for kind in asked:  # an actor has all of its own on one node
        most = max(bundle.get(kind, 0) for bundle in bundles)
        of_each = [node.get(kind, 0) for node in nodes]
        if sum(of_each) >= most > (largest := max(of_each, default=0)):
            kinds.append(f"one actor asks for {most:g} {kind}, no node has more than {largest:g}")
    return (
        f"the cluster must have room for {len(bundles)} actors within "
        f"resources.placement_timeout_s; after {waited_s:.0f} s it has none ({'; '.join(kinds)}). "
        "Lower rollout.num_engines or the numbers in [resources], wait for other jobs, add nodes, "
        f"or run without a cluster: {without_cluster()}"
    )


def place(
    actor: type, group: PlacementGroup, bundle: int, *, threads: int = 1, **options: Any
) -> Any:
    """Wrap a plain class as an actor that takes one bundle; call `.remote(...)` on what comes.

    It sees the GPUs of its bundle and no others.
    """
    resources = group.bundle_specs[bundle]
    # Both are read when libraries load, so before the process imports torch. Ray no longer hides
    # GPUs from an actor that has none: https://github.com/ray-project/ray/issues/54868
    variables = {"OMP_NUM_THREADS": str(threads)}
    if not resources.get("GPU"):
        variables["CUDA_VISIBLE_DEVICES"] = ""
    return ray.remote(actor).options(
        num_cpus=resources["CPU"],
        num_gpus=resources.get("GPU", 0),
        scheduling_strategy=PlacementGroupSchedulingStrategy(
            group, placement_group_bundle_index=bundle
        ),
        runtime_env={"env_vars": variables},
        **options,
    )


def send(method: Any, *arguments: Any) -> Any:
    """Call an actor's method; a reference to its answer. Large arguments go by the object store."""
    end_without_raylet()
    return method.remote(*arguments)


def put(value: Any) -> Any:
    """Lay a value into the object store; a reference to it."""
    end_without_raylet()
    return ray.put(value)


def fetch(reference: Any, *, timeout_s: float | None = None) -> Any:
    """Wait for a remote result; an exception raised by remote code is raised here as itself.

    Raises:
        ActorLostError: the process that should have answered is gone or did not answer in time.
    """
    end_without_raylet()
    try:
        return ray.get(reference, timeout=timeout_s)
    except RayTaskError as error:
        raise error.cause from error
    except GetTimeoutError as error:
        raise ActorLostError(f"no answer within {timeout_s:g} s") from error
    except RayError as error:
        end_without_raylet(ask_head=True)  # its actors are lost first
        raise ActorLostError(first_line(error)) from error


class ActorLostError(ClusterError):
    """An actor's process, its node or its answer is gone: nothing is known of the work itself."""


def first_line(error: Exception) -> str:
    """The line of a message that says most."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0].rstrip(".") if lines else type(error).__name__
