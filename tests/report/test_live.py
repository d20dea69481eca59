"""The live page: for whoever was told its address, and as safe as the page of a finished run."""

import json
import os
import signal
import socket
import subprocess
import sys
from html.parser import HTMLParser
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

from rlpeft.errors import ConfigError, DataError
from rlpeft.report.live import DRAWING_SHARE, HOST, LivePage, serving
from rlpeft.runs.driver import LOCK_FILE, take

HOSTILE = "<script>alert(1)</script>"


def record(folder, *steps):
    rows = [{"step": step, "reward": 0.5, "step_time": 1.0} for step in steps]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def fetch(url, **headers):
    with urlopen(Request(url, headers=headers), timeout=20) as answer:
        return answer.read().decode(), answer.headers


def refused(url, method="GET", **headers):
    with pytest.raises(HTTPError) as told:
        urlopen(Request(url, method=method, headers=headers), timeout=20)
    return told.value.code


@pytest.fixture
def run(tmp_path):
    record(tmp_path, 0, 1)
    (tmp_path / "recipe.json").write_text(json.dumps({"name": HOSTILE, "train": {"steps": 9}}))
    return tmp_path


class Scripts(HTMLParser):
    """The attributes of every script of a page."""

    def __init__(self, page):
        super().__init__()
        self.found = []
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        if tag == "script":
            self.found.append(dict(attributes))


def test_the_page_runs_our_script_and_no_other(run):
    with serving(run) as door:
        page, headers = fetch(door.url)
    assert Scripts(page).found == [{"nonce": door.page.nonce}]
    policy = headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert f"script-src 'nonce-{door.page.nonce}'" in policy
    assert "unsafe-inline" not in policy.partition("script-src")[2]
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page


def test_the_state_is_one_line_and_the_stamp_of_the_page(run):
    with serving(run) as door:
        page, _ = fetch(door.url)
        state = json.loads(fetch(door.url + "state")[0])
    assert state["phase"] == "stopped"
    assert "step 1 of 9" in state["line"]
    assert f'"{state["stamp"]}"' in page


def test_the_page_is_asked_for_again_when_the_run_has_moved(run):
    page = LivePage(run, clock=lambda: 0.0)
    before = page.stamp()
    assert f'"{before}"' in page.page()
    assert page.stamp() == before
    record(run, 0, 1, 2)
    assert page.stamp() != before
    assert f'"{page.stamp()}"' in page.page()


@pytest.mark.slow
@pytest.mark.parametrize("path", ["", "state", "wrong/", "{token}", "{token}/metrics.jsonl", "../"])
def test_nothing_else_is_served(run, path):
    with serving(run) as door:
        assert refused(f"http://{HOST}:{door.server_port}/" + path.format(token=door.token)) == 404


def test_a_strangers_name_that_leads_here_is_refused(run):
    with serving(run) as door:
        assert refused(door.url, Host=f"evil.example:{door.server_port}") == 404
        fetch(door.url, Host="localhost:9999")  # as a forwarded port has it


def test_nothing_is_taken(run):
    with serving(run) as door:
        assert refused(door.url, method="POST") == 501


def test_it_listens_on_this_machine_alone(run):
    with serving(run) as door:
        assert door.server_address[0] == "127.0.0.1"


def test_a_run_without_a_step_has_a_page_that_waits(tmp_path):
    (tmp_path / ".lock").touch()
    page = LivePage(tmp_path, clock=lambda: 0.0)
    assert "fills with the first step" in page.page()
    record(tmp_path, 0)
    assert "Did it learn?" in page.page()


def test_damaged_records_are_told_and_end_nothing(run):
    (run / "metrics.jsonl").write_text("no JSON\n")
    with serving(run) as door:
        assert "must be JSON" in fetch(door.url)[0]
        assert "must be JSON" in json.loads(fetch(door.url + "state")[0])["line"]


def test_a_page_is_drawn_anew_for_a_share_of_the_time_alone(run):
    """Each look at this clock is a second later: a drawing takes one."""
    times = iter(range(1000))
    page = LivePage(run, clock=lambda: next(times))
    with (run / LOCK_FILE).open("w") as lock:
        assert take(lock)
        first = page.page()
        record(run, 0, 1, 2)
        stamps = [page.stamp() for _ in range(20)]
    moved_at = next(at for at, stamp in enumerate(stamps) if stamp != stamps[0])
    assert stamps[0] in first
    assert moved_at + 1 == pytest.approx(1 / DRAWING_SHARE, abs=2)


def test_a_run_that_has_ended_is_drawn_at_once(run):
    times = iter(range(1000))
    page = LivePage(run, clock=lambda: next(times))
    before = page.page()
    record(run, 0, 1, 2)
    assert page.page() != before


def test_a_port_that_is_taken_is_named(run):
    with socket.socket() as other:
        other.bind((HOST, 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(ConfigError, match=f"{port} cannot be had"), serving(run, port):
            pass


def test_a_folder_that_is_no_run_is_refused(tmp_path):
    with pytest.raises(DataError, match="must have been started"), serving(tmp_path):
        pass


@pytest.mark.slow
def test_the_command_says_its_address_and_ends_with_one_line(run):
    command = [sys.executable, "-c", "from jobs.cli import main; main()"]
    child = subprocess.Popen(
        [*command, "report", "--follow", str(run)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=os.environ | {"COLUMNS": "200"},
        # Shells have what they start in the background ignore it, and so all that starts.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    try:
        loading, first, second = (child.stdout.readline() for _ in range(3))
        assert loading.endswith("Loading libraries.\n")
        address = first.rpartition(" ")[2].strip()
        assert "reward" in fetch(address)[0].lower()
        child.send_signal(signal.SIGINT)
        rest = child.communicate(timeout=60)[0]
    finally:
        child.kill()
    assert second.startswith("stopped, step 1 of 9")
    assert rest == "stopped: the page is gone, the run is not touched\n"
    assert child.returncode == 0
