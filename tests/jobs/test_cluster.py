"""Reserving what a run asks for, or saying what is missing."""

import pytest

from jobs.cluster import bundles_of, connected, reserved
from rlpeft.config import ResourceConfig
from rlpeft.errors import ClusterError, ConfigError


def test_reward_actors_are_given_the_gpus_they_ask_for():
    asked = ResourceConfig(reward_workers=2, reward_gpus=0.5)
    assert bundles_of(asked, 1)[2:] == [{"CPU": 1, "GPU": 0.5}] * 2


def test_learner_engines_and_reward_workers_are_reserved_in_this_order():
    asked = ResourceConfig(learner_cpus=3, learner_gpus=1, engine_cpus=2, reward_workers=1)
    assert bundles_of(asked, 2) == [{"CPU": 3, "GPU": 1}, {"CPU": 2}, {"CPU": 2}, {"CPU": 1}]


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
def test_a_reservation_ends_with_its_context(cluster, wait_for):
    import ray

    with reserved([{"CPU": 3}], timeout_s=30):
        wait_for(lambda: ray.available_resources().get("CPU") == 1)
    wait_for(lambda: ray.available_resources().get("CPU") == 4)


def test_the_address_of_a_dashboard_is_told_from_that_of_a_head():
    with (
        pytest.raises(ConfigError, match="rlpeft submit RECIPE --address http://host:8265"),
        connected("http://host:8265"),
    ):
        pass


def test_an_address_where_nobody_listens_is_named_at_once(monkeypatch):
    monkeypatch.setattr("ray.is_initialized", lambda: False)
    with (
        pytest.raises(ClusterError, match=r"must answer at 127\.0\.0\.1:9, got: .*refused"),
        connected("127.0.0.1:9"),
    ):
        pass


def test_a_node_that_is_slow_to_start_is_told_in_one_line(monkeypatch):
    def init(**options):
        raise Exception("The current node timed out during startup. It may be overloaded.")

    monkeypatch.setattr("ray.is_initialized", lambda: False)
    monkeypatch.setattr("ray.init", init)
    with (
        pytest.raises(ClusterError, match="must answer at this machine, got: The current node"),
        connected(None),
    ):
        pass
