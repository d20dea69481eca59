"""`rlpeft doctor` says where a run would go."""

import pytest

from jobs.cli.doctor import place


@pytest.fixture
def record(monkeypatch, tmp_path):
    """Where Ray keeps a record of the cluster that was started here."""
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    (tmp_path / "ray").mkdir()
    return tmp_path / "ray" / "ray_current_cluster"


def test_without_a_cluster_here_one_is_started(record):
    assert place().status == "ok"
    assert place().found.startswith("rlpeft train: on a Ray of its own on this machine; ")


def test_a_cluster_that_is_found_is_named(record, monkeypatch):
    record.write_text("10.0.0.1:6379")
    monkeypatch.setattr("jobs.cluster.joining.require_alive", lambda head, wait_s: None)
    found = "rlpeft train: on the Ray cluster at 10.0.0.1:6379, found on this machine; "
    assert place().found.startswith(found)


def test_a_cluster_that_no_run_can_join_is_to_be_known_of(record):
    record.write_text("127.0.0.1:9")
    assert place().status == "warn"
    assert "127.0.0.1:9, found on this machine, must answer" in place().found
    assert place().found.endswith("rlpeft train RECIPE --local")
