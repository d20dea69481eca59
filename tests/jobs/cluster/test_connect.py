"""Reserving what a run asks for, or saying what is missing."""

import json
import os
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from jobs.cluster.addresses import head_of
from jobs.cluster.connect import bundles_of, connected, fetch, place, reserved
from jobs.cluster.joining import HERE, FoundCluster
from rlpeft.errors import ClusterError, ConfigError
from rlpeft.recipe.run import ResourceConfig

NICENESS = "RAY_worker_niceness"


def test_reward_actors_are_given_the_gpus_they_ask_for():
    asked = ResourceConfig(reward_workers=2, reward_gpus=0.5)
    assert bundles_of(asked, 1)[2:] == [{"CPU": 1, "GPU": 0.5}] * 2


def test_learner_engines_and_reward_workers_are_reserved_in_this_order():
    asked = ResourceConfig(learner_cpus=3, learner_gpus=1, engine_cpus=2, reward_workers=1)
    assert bundles_of(asked, 2) == [{"CPU": 3, "GPU": 1}, {"CPU": 2}, {"CPU": 2}, {"CPU": 1}]
    several = asked.model_copy(update={"learners": 2})
    assert bundles_of(several, 2) == [{"CPU": 3, "GPU": 1}, *bundles_of(asked, 2)]


@pytest.mark.ray
def test_resources_that_are_not_there_are_named_beside_those_that_are(cluster):
    message = (
        r"room for 2 actors .* \(CPU: 65 asked, 4 there, \d free; GPU: 8 asked, 0 there, 0 free\)"
    )
    with (
        pytest.raises(ClusterError, match=message),
        reserved([{"CPU": 1, "GPU": 8}, {"CPU": 64}], timeout_s=0.5),
    ):
        pass


@pytest.mark.ray
def test_gpus_that_a_machine_alone_has_not_are_not_waited_for(cluster):
    message = r"after 0 s it has none \(CPU: 1 asked, .*; GPU: 1 asked, 0 there, 0 free\)"
    with (
        pytest.raises(ClusterError, match=message),
        reserved([{"CPU": 1, "GPU": 1}], timeout_s=600),
    ):
        pass


class Seer:
    """Says which GPUs its process may use."""

    def visible(self):
        import os

        return os.environ.get("CUDA_VISIBLE_DEVICES")


@pytest.mark.ray
def test_an_actor_without_gpus_sees_none_whatever_its_node_has(cluster):
    with reserved([{"CPU": 1}], timeout_s=300) as group:
        assert fetch(place(Seer, group, 0).remote().visible.remote()) == ""


@pytest.mark.ray
def test_a_reservation_ends_with_its_context(cluster, wait_for):
    import ray

    with reserved([{"CPU": 3}], timeout_s=300):
        wait_for(lambda: ray.available_resources().get("CPU") == 1)
    wait_for(lambda: ray.available_resources().get("CPU") == 4)


@pytest.fixture
def dashboard():
    """A maker of servers that answer every question of a dashboard's; gives its host:port."""
    servers = []

    def serve(document, status=200):
        class Answer(BaseHTTPRequestHandler):
            def do_GET(self):
                self.send_response(status)
                self.end_headers()
                self.wfile.write(json.dumps(document).encode())

            def log_message(self, *_):
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
        threading.Thread(target=server.serve_forever).start()
        servers.append(server)
        return f"127.0.0.1:{server.server_port}"

    yield serve
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize("scheme", ["http://", ""])
def test_a_dashboard_of_a_cluster_that_has_no_node_here_is_told_what_to_do(
    dashboard, scheme, monkeypatch
):
    monkeypatch.setattr("ray.is_initialized", lambda: False)
    place = dashboard({"session_name": "session_elsewhere"})
    wanted = f"a node of, .*rlpeft submit RECIPE --address http://{place}; .*ray start --address"
    with pytest.raises(ClusterError, match=wanted), connected(f"{scheme}{place}"):
        pass


def test_a_dashboard_that_wants_a_token_says_how_to_give_one(dashboard):
    with pytest.raises(ClusterError, match=r"wants a token\. On the cluster's head"):
        head_of(f"http://{dashboard({}, status=401)}")


@pytest.mark.slow
@pytest.mark.parametrize("document", [{}, [], 3])
def test_another_server_is_no_dashboard(dashboard, document):
    with pytest.raises(ConfigError, match=r"is no dashboard of Ray's"):
        head_of(f"http://{dashboard(document)}")


def test_a_dashboard_that_does_not_answer_is_named():
    with pytest.raises(ClusterError, match=r"must answer at 'http://127\.0\.0\.1:9', none does"):
        head_of("http://127.0.0.1:9")


@pytest.mark.ray
def test_the_head_of_a_dashboard_is_known_by_its_node_on_this_machine(cluster):
    assert head_of(cluster["dashboard"]) == cluster["head"]
    assert head_of(cluster["dashboard"] + "/") == cluster["head"]


def test_an_address_where_nobody_listens_is_named_at_once(monkeypatch):
    monkeypatch.setattr("ray.is_initialized", lambda: False)
    with (
        pytest.raises(ClusterError, match=r"must answer at 127\.0\.0\.1:9, got: .*refused"),
        connected("127.0.0.1:9"),
    ):
        pass


@pytest.fixture
def nowhere(monkeypatch, tmp_path):
    """A machine on which no cluster is named or found, and this process has joined none."""
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    monkeypatch.setattr("ray.is_initialized", lambda: False)


@pytest.mark.usefixtures("nowhere")
def test_a_token_that_the_cluster_does_not_take_is_told_as_that_and_alone(monkeypatch, capfd):
    """As Ray raises it: the cause is a traceback's text in the message of another."""

    def init(**options):
        os.write(2, b"twenty lines of noise")
        text = "Traceback …\nray.exceptions.AuthenticationError: RPC error: InvalidAuthToken"
        cause = RuntimeError(f"Failed to connect to GCS. Last connection error: {text}")
        raise ConnectionError("Failed to connect to Ray cluster") from cause

    found = FoundCluster("h:1", HERE)
    monkeypatch.setattr("jobs.cluster.connect.cluster_to_join", lambda address: found)
    monkeypatch.setattr("jobs.cluster.connect.require_alive", lambda cluster: None)
    monkeypatch.setattr("ray.init", init)
    with (
        pytest.raises(
            ClusterError, match=r"h:1, found .*another token\. On the cluster's .*--local$"
        ),
        connected(None),
    ):
        pass
    assert "noise" not in capfd.readouterr().err


@pytest.mark.usefixtures("nowhere")
def test_a_node_that_is_slow_to_start_is_told_in_one_line(monkeypatch):
    def init(**options):
        raise Exception("The current node timed out during startup. It may be overloaded.")

    monkeypatch.setattr("ray.init", init)
    with (
        pytest.raises(
            ClusterError, match=r"limit of 30 s, got: The current node.*Give the same command again"
        ),
        connected(None),
    ):
        pass


@pytest.mark.usefixtures("nowhere")
@pytest.mark.parametrize(("given", "niceness"), [(None, "0"), ("7", "7")])
def test_actors_of_a_cluster_that_is_started_give_way_to_nobody_unless_they_shall(
    monkeypatch, given, niceness
):
    began = []

    def init(**options):
        began.append(os.environ.get(NICENESS))
        raise ValueError

    monkeypatch.setenv(NICENESS, given or "")
    if given is None:
        monkeypatch.delenv(NICENESS)
    monkeypatch.setattr("ray.init", init)
    with pytest.raises(ClusterError), connected(None):
        pass
    assert began == [niceness]
