"""Factors of base weights travel: whoever has them gives them to each node that has not, once.

Trainer and engines must use the very same factors (`rlpeft.adapters.svf.factors`), so an engine
computes none that a trainer named. Its actor asks the other nodes' caches for what its own node's
lacks, by digest; the files, safetensors as they are, go through Ray's object store.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import ray
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from rlpeft.adapters.svf.factors import default_cache, factors_path
from rlpeft.errors import ClusterError
from rlpeft.files import make_folder, write_bytes

DIGEST = re.compile(r"[0-9a-f]{64}")
"""A digest is part of a path, and may come from an expert that a stranger wrote."""


def bring(digests: Iterable[str]) -> None:
    """Have factors in this node's cache; what no node has stays away, and its user says so.

    Consumes files of other nodes. Waits for whoever brings some to this node already, then for
    one file after the other. Produces files, each whole or not at all.

    Raises:
        ClusterError: a file is not what its node read.
    """
    wanted = sorted({digest for digest in digests if DIGEST.fullmatch(digest)})
    if not lacking(wanted):
        return
    with _alone():
        for node in _other_nodes():
            if not (missing := lacking(wanted)):
                return
            try:
                for digest in _ask(node, held, missing):
                    content, sent = _ask(node, read, digest)
                    keep(digest, content, sent)
            except RayError:  # the node, or its file, is gone: another may have it
                continue


def lacking(digests: Sequence[str]) -> list[str]:
    """Those of which this node's cache has no factors."""
    return [digest for digest in digests if not factors_path(digest).exists()]


def held(digests: Sequence[str]) -> list[str]:
    """The others."""
    return [digest for digest in digests if factors_path(digest).exists()]


def read(digest: str) -> tuple[bytes, str]:
    """A file of this node's cache, and the SHA-256 of what it holds."""
    content = factors_path(digest).read_bytes()
    return content, hashlib.sha256(content).hexdigest()


def keep(digest: str, content: bytes, sent: str) -> None:
    """Put a file that has travelled into this node's cache.

    Raises:
        ClusterError: it is not what was sent.
    """
    found = hashlib.sha256(content).hexdigest()
    if found != sent:
        raise ClusterError(
            f"factors {digest[:12]}… must arrive as they were sent (sha256 {sent[:12]}…), got "
            f"{found[:12]}…. Run again; if it comes again, look at that node's memory and network."
        )
    write_bytes(factors_path(digest), content)


def _ask(node: str, function: Any, argument: Any) -> Any:
    """What a function gives on another node."""
    there = NodeAffinitySchedulingStrategy(node, soft=False)
    task = ray.remote(function).options(num_cpus=0, scheduling_strategy=there)
    return ray.get(task.remote(argument))


def _other_nodes() -> list[str]:
    own = ray.get_runtime_context().get_node_id()
    return [n["NodeID"] for n in ray.nodes() if n["Alive"] and n["NodeID"] != own]


@contextmanager
def _alone() -> Iterator[None]:
    """Only one process of this node brings factors at a time."""
    make_folder(default_cache())
    folder = os.open(default_cache(), os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)
