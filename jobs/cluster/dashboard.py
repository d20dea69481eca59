"""A cluster's dashboard, which takes jobs: its address, its client, and its refusals in a line."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager

import requests
from ray.dashboard.utils import ray_address_to_api_server_url
from ray.exceptions import AuthenticationError, RayError
from ray.job_submission import JobSubmissionClient

from jobs.cluster.addresses import TOKEN_COMMANDS, speaks_http
from jobs.cluster.connect import first_line, is_listening
from rlpeft.errors import ClusterError, ConfigError

# Its client tells of every closed connection.
logging.getLogger("ray.dashboard.modules.job.sdk").setLevel(logging.WARNING)


def dashboard_of(address: str) -> str:
    """The URL of a cluster's dashboard.

    Args:
        address: of the dashboard, `http://host:8265` or `host:8265`, or of the head, `host:6379`,
            which is asked for its dashboard.

    Raises:
        ConfigError: an address of another form.
        ClusterError: the head has no dashboard, or wants a token.
    """
    scheme, separator, rest = address.rpartition("://")
    if separator and scheme in ("http", "https"):
        return address.rstrip("/")
    if separator or not re.fullmatch(r"[^\s/]+:\d+", rest):
        raise ConfigError(
            "--address of a job must be the dashboard's http://HOST:8265 (or HOST:8265), or the "
            f"head's HOST:6379, got {address!r}."
        )
    url = f"http://{address}"
    if speaks_http(address) or not is_listening(address):
        return url  # what does not answer is told when it is asked
    try:
        return str(ray_address_to_api_server_url(address))
    except (ValueError, RuntimeError, RayError) as error:
        raise ClusterError(
            f"the head at {address!r} must have a dashboard, got: {first_line(error)}. Start it "
            f"by `ray start --head --include-dashboard true`; a token is given so: {TOKEN_COMMANDS}"
        ) from error


@contextmanager
def asking(address: str) -> Iterator[JobSubmissionClient]:
    """The client of a dashboard; what it refuses inside is told in one line.

    Args:
        address: see `dashboard_of`.

    Raises:
        ClusterError: none answers there, it wants a token, or refuses.
    """
    address = dashboard_of(address)
    try:
        yield JobSubmissionClient(address)
    except AuthenticationError as error:
        raise ClusterError(f"the cluster at {address!r} wants a token. {TOKEN_COMMANDS}") from error
    except (ConnectionError, requests.ConnectionError) as error:
        raise ClusterError(
            f"a Ray dashboard must answer at {address!r}, none does. Start the cluster with "
            "`ray start --head`, or correct --address."
        ) from error
    except RuntimeError as error:
        raise ClusterError(f"the cluster at {address!r} refused: {first_line(error)}") from error
