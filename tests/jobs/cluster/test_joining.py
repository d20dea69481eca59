"""Which cluster a driver would join is known, and one that nobody can join is refused at once."""

import os
import socket

import pytest

from jobs.cluster.joining import (
    HERE,
    FoundCluster,
    cluster_to_join,
    joining,
    require_alive,
    without_cluster,
)
from rlpeft.errors import ClusterError


@pytest.fixture(autouse=True)
def nothing_named(monkeypatch, tmp_path):
    """A machine on which nobody has started a cluster, and a place for Ray's record of one."""
    for name in ("RAY_ADDRESS", "RAY_JOB_CONFIG_JSON_ENV_VAR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    (tmp_path / "ray").mkdir()
    return tmp_path / "ray" / "ray_current_cluster"


@pytest.fixture
def head():
    """The address of something that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"127.0.0.1:{server.getsockname()[1]}"


def test_without_any_a_cluster_is_started_here():
    assert cluster_to_join(None) is None
    assert cluster_to_join("local") is None


def test_one_that_ray_has_on_record_is_found(nothing_named):
    nothing_named.write_text("10.0.0.1:6379")
    assert cluster_to_join(None) == FoundCluster("10.0.0.1:6379", HERE)
    assert cluster_to_join("local") is None


def test_a_named_one_says_who_named_it(monkeypatch, nothing_named, head):
    monkeypatch.setattr("jobs.cluster.joining.speaks_http", lambda place: False)
    nothing_named.write_text("10.0.0.1:6379")
    assert cluster_to_join(head) == FoundCluster(head, "named by --address")
    monkeypatch.setenv("RAY_ADDRESS", head)
    assert cluster_to_join(None) == FoundCluster(head, "named by RAY_ADDRESS")
    assert cluster_to_join("auto") == FoundCluster(head, "named by RAY_ADDRESS")
    monkeypatch.setenv("RAY_JOB_CONFIG_JSON_ENV_VAR", "{}")
    assert cluster_to_join(None) == FoundCluster(head, "to which this job was sent")


def test_one_whose_head_is_gone_says_how_to_go_on(monkeypatch):
    monkeypatch.setattr("sys.argv", ["rlpeft", "train", "mine.toml", "--out", "a b"])
    lost = FoundCluster("127.0.0.1:9", HERE)
    wanted = r"127.0.0.1:9, found .*refused.*: ray stop; or .*train mine.toml --out 'a b' --local$"
    with pytest.raises(ClusterError, match=wanted):
        require_alive(lost)


def test_one_without_a_living_node_here_is_refused_before_ray_waits_for_it(head):
    wanted = rf"{head}, named by --address, must have a living node .*ray start --address {head};"
    with pytest.raises(ClusterError, match=wanted):
        require_alive(FoundCluster(head, "named by --address"), wait_s=0)


@pytest.mark.parametrize(
    ("typed", "wanted"),
    [
        ("rlpeft train mine.toml --address auto --json", "rlpeft train mine.toml --json --local"),
        ("rlpeft evaluate a/expert --address=h:1", "rlpeft evaluate a/expert"),
        ("rlpeft cem submit tiny-mix", "rlpeft adapt RECIPE"),
        ("rlpeft doctor mine.toml", "rlpeft train RECIPE --local"),
        ("notebook.py", "rlpeft train RECIPE --local"),
    ],
)
def test_the_form_that_needs_no_cluster_is_the_command_that_was_typed(monkeypatch, typed, wanted):
    monkeypatch.setattr("sys.argv", typed.split())
    assert without_cluster() == wanted


def test_what_ray_prints_is_kept_back_where_our_line_says_it(capfd):
    def join(error):
        with joining(FoundCluster("h:1", HERE)):
            os.write(2, b"twenty lines of noise")
            raise error

    with pytest.raises(ClusterError):
        join(ClusterError("one line"))
    assert capfd.readouterr().err == ""
    with pytest.raises(ZeroDivisionError):
        join(ZeroDivisionError())
    assert capfd.readouterr().err == "twenty lines of noise"
