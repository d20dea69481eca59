"""One cluster, two addresses: of its head, which drivers join, and of its dashboard, which takes
jobs. Either is taken everywhere.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import requests
from ray._private.authentication.http_token_authentication import (
    get_auth_headers_if_auth_enabled,
)

from rlpeft.errors import ClusterError, ConfigError

REACH_TIMEOUT_S = 10.0

TOKEN_COMMANDS = (
    "On the cluster's head: `ray get-auth-token --generate`. Here: "
    "`export RAY_AUTH_MODE=token RAY_AUTH_TOKEN=<that token>`, and run this command again."
)
"""How to mend a missing or wrong token, as Ray 2.60 wants it."""


def speaks_http(address: str) -> bool:
    """Whether what listens at `host:port` is a dashboard rather than a head."""
    try:
        requests.get(f"http://{address}/api/version", timeout=REACH_TIMEOUT_S)
    except requests.RequestException:
        return False
    return True


def head_of(dashboard: str) -> str:
    """The head of the cluster that a dashboard shows, `host:port`.

    A driver joins a cluster by a node of it on its own machine: it knows the head, and the node's
    session is the one that the dashboard names.

    Args:
        dashboard: its URL.

    Raises:
        ClusterError: no dashboard answers there, it wants a token, or it shows another cluster
            than this machine is a node of.
    """
    session = _session(dashboard.rstrip("/"))
    heads = {name: head for name, head in local_nodes() if name}
    if session in heads:
        return heads[session]
    raise ClusterError(
        f"--address must be of a cluster that this machine is a node of, {dashboard!r} is the "
        "dashboard of another. To train there, run: "
        f"rlpeft submit RECIPE --address {dashboard}; to join it from here, first: ray start "
        "--address HOST:PORT, with the head's (port 6379 unless it was started with another)."
    )


def _session(dashboard: str) -> str:
    try:
        answer = requests.get(
            f"{dashboard}/api/version",
            headers=get_auth_headers_if_auth_enabled({}),
            timeout=REACH_TIMEOUT_S,
        )
        if answer.status_code in (401, 403):
            raise ClusterError(f"the cluster at {dashboard!r} wants a token. {TOKEN_COMMANDS}")
        return str(answer.json()["session_name"])
    except requests.ConnectionError as error:
        raise ClusterError(
            f"a Ray dashboard must answer at {dashboard!r}, none does. Start the cluster with "
            "`ray start --head`, or correct --address."
        ) from error
    except (requests.RequestException, KeyError, TypeError) as error:
        raise ConfigError(
            "--address must be a Ray head's HOST:PORT or its dashboard's http://HOST:8265, what "
            f"answers at {dashboard!r} is no dashboard of Ray's."
        ) from error


def local_nodes() -> Iterator[tuple[str, str]]:
    """Session and head of every Ray node on this machine, as its raylet was told them."""
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            line = process.cmdline()
            if line and Path(line[0]).name == "raylet":
                said = dict(part.split("=", 1) for part in line if "=" in part)
                yield said.get("--session-name", ""), said.get("--gcs-address", "")
