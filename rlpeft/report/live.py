"""The page of a run while it goes on, on this machine alone: `rlpeft report --follow`.

    http://127.0.0.1:PORT/TOKEN/        the page of the run as it is now
    http://127.0.0.1:PORT/TOKEN/state   how it stands, as JSON, which the page asks for

Nothing else is served, to nobody who does not know the token. The page runs one script, ours; its
policy forbids any other, whatever a model wrote.
"""

from __future__ import annotations

import json
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from hmac import compare_digest
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import NoReturn

from rlpeft.errors import ConfigError, RlpeftError
from rlpeft.report.page import page_environment, read_run, render
from rlpeft.report.standing import Phase, RunState, moved, require_run, standing
from rlpeft.runs.driver import has_driver
from rlpeft.runs.records import read_metrics
from rlpeft.terminal import say

HOST = "127.0.0.1"
HOSTS = (HOST, "localhost")
"""Names under which the page is asked for: another one is a stranger's, which leads here."""

LOOK_S = 2.0
"""Between two looks at the run, of the page and of the command."""

DRAWING_SHARE = 0.1
"""Share of the time in which the page may be drawn anew: a run needs its cores itself."""

HEADERS = {
    "Cache-Control": "no-store",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


class LivePage:
    """The page of a run, drawn anew when the run has moved and enough time has passed.

    Args:
        folder: the run's.
    """

    def __init__(self, folder: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self._folder, self._clock = folder, clock
        self._lock, self._page = threading.Lock(), ""
        self._drawn: tuple[int, ...] | None = None
        self._next_s = 0.0
        self.nonce = secrets.token_urlsafe(16)

    def stamp(self) -> str:
        """Another one when the page should be asked for again."""
        return _text(self._due())

    def standing(self) -> RunState:
        """How it stands with the run; of damaged records, what is wrong."""
        try:
            return standing(self._folder)
        except (RlpeftError, OSError) as error:
            return RunState(Phase.STOPPED, str(error))

    def page(self) -> str:
        """The page."""
        with self._lock:
            due = self._due()
            if due != self._drawn:
                started = self._clock()
                self._page, self._drawn = self._render(_text(due)), due
                self._next_s = started + (self._clock() - started) / DRAWING_SHARE
            return self._page

    def policy(self) -> str:
        """What the page may do: show its own pictures, run our script, ask for its own state."""
        return (
            "default-src 'none'; img-src data:; style-src 'unsafe-inline'; "
            f"script-src 'nonce-{self.nonce}'; connect-src 'self'"
        )

    def _due(self) -> tuple[int, ...]:
        now, drawn = moved(self._folder), self._drawn
        is_early = self._clock() < self._next_s and has_driver(self._folder)
        return drawn if is_early and drawn is not None else now

    def _render(self, stamp: str) -> str:
        live = {
            "nonce": self.nonce,
            "stamp": stamp,
            "look_ms": round(1000 * LOOK_S),
            "line": self.standing().line,
        }
        try:
            if read_metrics(self._folder):
                return render(self._folder, *read_run(self._folder), live=live)
            reason = "This page fills with the first step."
        except (RlpeftError, OSError) as error:  # damage, or a file is just being replaced
            reason = str(error)
        bare = page_environment().get_template("waiting.html.jinja")
        return bare.render(name=self._folder.name, live=live, reason=reason)


def _text(stamp: tuple[int, ...]) -> str:
    return "-".join(map(str, stamp))


class Door(ThreadingHTTPServer):
    """Serves one run's page to whoever knows the token."""

    daemon_threads = True

    def __init__(self, page: LivePage, port: int) -> None:
        self.page, self.token = page, secrets.token_urlsafe(16)
        super().__init__((HOST, port), _Answer)

    @property
    def url(self) -> str:
        """Where the page is."""
        return f"http://{HOST}:{self.server_port}/{self.token}/"


class _Answer(BaseHTTPRequestHandler):
    """One request."""

    server: Door
    timeout = 10.0
    server_version, sys_version = "rlpeft", ""

    def do_GET(self) -> None:
        known = {f"/{self.server.token}/": self._page, f"/{self.server.token}/state": self._state}
        found = [say for path, say in known.items() if compare_digest(path, self._asked())]
        if found and self._is_here():
            found[0]()
        else:
            self._send(HTTPStatus.NOT_FOUND, "text/plain", "not found\n")

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: the terminal is for what becomes of the run."""

    def _asked(self) -> str:
        return self.path.partition("?")[0].encode("ascii", "replace").decode()

    def _is_here(self) -> bool:
        """Whether it was asked for by a name of this machine, not by one that leads here."""
        return self.headers.get("Host", "").rpartition(":")[0] in HOSTS

    def _page(self) -> None:
        self._send(HTTPStatus.OK, "text/html", self.server.page.page())

    def _state(self) -> None:
        page, found = self.server.page, self.server.page.standing()
        state = {"phase": found.phase, "line": found.line, "stamp": page.stamp()}
        self._send(HTTPStatus.OK, "application/json", json.dumps(state))

    def _send(self, status: HTTPStatus, kind: str, text: str) -> None:
        body = text.encode("utf-8", "replace")
        self.send_response(status)
        policy = f"{self.server.page.policy()}; base-uri 'none'; frame-ancestors 'none'"
        headers = {"Content-Security-Policy": policy, "Content-Type": f"{kind}; charset=utf-8"}
        for name, value in {**HEADERS, **headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)


@contextmanager
def serving(folder: Path, port: int = 0) -> Iterator[Door]:
    """Serve the page of a run in a thread.

    Args:
        port: 0 is any that is free.

    Raises:
        DataError: the folder is no run's.
        ConfigError: the port cannot be had.
    """
    require_run(folder)
    try:
        door = Door(LivePage(folder), port)
    except OSError as error:
        raise ConfigError(
            f"--port must be free on {HOST}, {port} cannot be had: {error.strerror}. Choose "
            "another, or leave it out."
        ) from error
    with door:
        threading.Thread(target=door.serve_forever, daemon=True).start()
        try:
            yield door
        finally:
            door.shutdown()


def follow(folder: Path, port: int = 0) -> None:
    """Serve the page of a run until Ctrl-C, and say when it stands otherwise with it.

    Raises:
        DataError, ConfigError: see `serving`.
    """
    with serving(folder, port) as door:
        say("the page of this run, until Ctrl-C:", door.url)
        try:
            _say_changes(door.page)
        except KeyboardInterrupt:
            say("stopped: the page is gone, the run is not touched")


def _say_changes(page: LivePage) -> NoReturn:
    told: Phase | None = None
    while True:
        found = page.standing()
        if found.phase != told:
            say(found.line)
            told = found.phase
        time.sleep(LOOK_S)
