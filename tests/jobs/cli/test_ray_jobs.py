"""What is told of a cluster's jobs: what Ray says of them, and no more than they say of themselves.

A server answers as a dashboard does, with jobs that no cluster of ours would have.
"""

import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest
from typer.testing import CliRunner

from jobs.cli import app

HOSTILE = "\x1b[2J\a\r\u202e"


def job(name, metadata, status="SUCCEEDED", began=1_700_000_000_000):
    return {
        "type": "SUBMISSION",
        "submission_id": name,
        "status": status,
        "entrypoint": "python x",
        "message": "",
        "start_time": began,
        "metadata": metadata,
    }


JOBS = [
    job("honest", {"command": "train a", "out": "/shared/runs/a"}),
    job("forged", {"id": "honest", "status": "RUNNING", "exit_code": "0", "ended": "no"}),
    job("none", {"command": "evaluate a", "out": ""}),
    job("long", {"out": "/" + "a" * 5000}, status="RUNNING"),
    job("waits", {}, status="PENDING", began=None),
    job("later", {}, began=10**400),
]


class Dashboard(BaseHTTPRequestHandler):
    """As much of Ray's as its client asks for."""

    def log_message(self, *arguments):
        pass

    def do_GET(self):
        known = {f"/api/jobs/{each['submission_id']}": each for each in JOBS}
        answers = {
            "/api/version": {
                "version": "4",
                "ray_version": "2",
                "ray_commit": "",
                "session_name": "",
            },
            "/api/jobs/": JOBS,
            "/api/jobs/honest/logs": {"logs": f"a\tb{HOSTILE}\n"},
        } | known
        found = answers.get(self.path)
        body = json.dumps(found or {}).encode()
        self.send_response(200 if found else 404)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture(scope="module")
def asked():
    """What a command tells, and its exit code."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Dashboard) as server:
        Thread(target=server.serve_forever, daemon=True).start()

        def ask(*words, code=0):
            at = ("--address", f"http://127.0.0.1:{server.server_port}")
            result = CliRunner().invoke(app, [*map(str, words), *at])
            assert result.exit_code == code, result.output
            return result.stdout if code == 0 else result.stderr.strip().splitlines()[-1]

        yield ask
        server.shutdown()


def test_a_job_says_nothing_of_itself_that_ray_says(asked):
    found = json.loads(asked("status", "forged", "--json"))
    assert (found["id"], found["status"], found["exit_code"]) == ("forged", "SUCCEEDED", None)
    assert found["ended"] is None


def test_one_run_folder_that_cannot_be_read_is_told_in_its_own_row(asked):
    lines = asked("jobs", "list").splitlines()
    assert [line.split()[0] for line in lines if line[0] != " "] == [
        *("waits", "honest", "forged", "none", "long", "later")
    ]
    assert "cannot be used: file name too long" in lines[-2]


def test_a_job_whose_time_no_calendar_has_is_listed_without_one(asked):
    assert asked("jobs", "list").splitlines()[-1].split() == ["later", "SUCCEEDED", "python", "x"]


def test_a_job_that_waits_is_listed_without_a_time(asked):
    assert asked("jobs", "list").splitlines()[0].split() == ["waits", "PENDING", "python", "x"]


def test_what_a_terminal_would_obey_is_spelled_out_in_a_log_and_kept_in_json(asked):
    assert asked("logs", "honest") == "a\tb\\x1b[2J\\x07\\r\\u202e\n"
    assert json.loads(asked("logs", "honest", "--json"))["log"] == f"a\tb{HOSTILE}\n"


@pytest.mark.parametrize("command", ["status", "logs", "stop", "fetch"])
@pytest.mark.parametrize("name", ["../../x", "..", "", "a?b"])
def test_what_is_no_id_is_told_with_the_form_of_one(asked, command, name):
    assert "such as raysubmit_" in asked(command, name, code=1)


def test_a_job_whose_run_folder_is_empty_keeps_none(asked):
    assert "keeps none: it was sent without" in asked("fetch", "none", code=1)
