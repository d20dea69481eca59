"""What a model hub refuses, each in one line that says how to mend it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rlpeft.errors import HubError, RlpeftError


@contextmanager
def hub_errors(said: str) -> Iterator[None]:
    """Tell what the Hub refuses in one line.

    Args:
        said: what is asked for: how the line begins.

    Raises:
        HubError: there is no network, no such repository or revision, or no right to it.
    """
    # Whichever of httpx and httpx2 this huggingface_hub was written for.
    from huggingface_hub.errors import HTTPError  # type: ignore[attr-defined]

    try:
        yield
    except RlpeftError:
        raise
    except (HTTPError, OSError, RuntimeError, ValueError) as error:
        # huggingface_hub wraps what an upload of large files ends with.
        known = error.__cause__ if type(error) is RuntimeError and error.__cause__ else error
        if isinstance(known, OSError) and known.errno is not None:
            raise  # of this machine's file system
        raise HubError(f"{said} {_cause(known)}") from error


def _cause(error: BaseException) -> str:
    """What went wrong, and how to mend it."""
    from huggingface_hub import constants, errors, get_token

    right = "the token set here has no right to it" if get_token() else "no token is set here"
    login = "Check the name, and log in: `hf auth login`, or HF_TOKEN."
    status = error.response.status_code if isinstance(error, errors.HfHubHTTPError) else None
    match error:
        case errors.RevisionNotFoundError():
            return "is gone from the Hub, or never was there. Name another branch, tag or commit."
        case errors.GatedRepoError():
            return f"is on the Hub for those whom its owner admits, and {right}. {login}"
        case errors.RepositoryNotFoundError():
            return f"is not at {constants.ENDPOINT}, or is private and {right}. {login}"
        case errors.OfflineModeIsEnabled():
            return "needs the Hub, and HF_HUB_OFFLINE is set. Unset it."
        case errors.HFValidationError():
            return "must be ORG/NAME or ORG/NAME@REVISION, as the Hub allows them."
    if status in (401, 403):
        return f"is refused by the Hub (status {status}): {right}. {login}"
    if status == 413:
        return "is too large for the Hub (status 413)."
    what = f"status {status}" if status else type(error).__name__
    return (
        f"needs the Hub at {constants.ENDPOINT}, which does not answer ({what}). Try again later."
    )
