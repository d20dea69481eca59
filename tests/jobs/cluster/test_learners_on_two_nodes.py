"""A run spread over two nodes outlives the death of one."""

import subprocess
import sys

import pytest

from jobs.cluster.driver_exit import TRY_AGAIN
from rlpeft.runs.records import read_metrics

STEPS = 12

RECIPE = f"""
name = "nodes"
[model]
name = "tiny"
[task]
name = "tiny/swap"
num_validation = 8
num_test = 8
[rollout]
max_tokens = 6
num_engines = 2
max_lag = 1
[[reward]]
name = "exact"
[resources]
learners = 2
placement_timeout_s = 300
[train]
steps = {STEPS}
prompts_per_step = 4
group_size = 4
report_to = []
"""


@pytest.fixture
def other_node(cluster, tmp_path):
    """A second raylet of the session's cluster, with a cache of its own; ends it by force."""
    import ray
    from ray.cluster_utils import Cluster

    raylets = Cluster(shutdown_at_exit=False)  # it would take our SIGTERM
    raylets.head_node = ray._private.worker._global_node
    node = raylets.add_node(
        wait=False,
        num_cpus=2,
        resources={"other": 1},
        env_vars={"XDG_CACHE_HOME": str(tmp_path / "cache")},
    )
    place = ray.util.placement_group([{"other": 1}])
    assert place.wait(300), "the second raylet did not join the cluster"
    ray.util.remove_placement_group(place)
    yield lambda: raylets.remove_node(node, allow_graceful=False)
    if node in raylets.worker_nodes:
        raylets.remove_node(node)


@pytest.mark.ray
@pytest.mark.campaign
@pytest.mark.timeout(900)
def test_a_run_on_two_nodes_goes_on_from_its_checkpoint_when_one_dies(
    cluster, other_node, tmp_path, wait_for
):
    import ray
    from ray.util.state import list_actors

    def nodes():
        """The nodes on which actors of the run are."""
        filters = [("state", "=", "ALIVE")]
        return {
            actor.node_id
            for actor in list_actors(address=cluster["dashboard"], filters=filters)
            if actor.class_name in ("LearnerActor", "EngineActor")
        }

    kill = other_node
    # Of the head's four CPUs two are left: four actors need both nodes.
    taken = ray.util.placement_group([{"CPU": 2}], strategy="STRICT_PACK")
    path, out = tmp_path / "nodes.toml", tmp_path / "run"
    path.write_text(RECIPE)
    command = [sys.executable, "-m", "jobs.cli", "train", str(path), "--out", str(out)]
    command += ["--address", cluster["head"]]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as driver:
        wait_for(lambda: len(nodes()) == 2)
        wait_for(lambda: len(read_metrics(out)) > 2)
        kill()
        assert len(read_metrics(out)) < STEPS
        ray.util.remove_placement_group(taken)
        _, said = driver.communicate(timeout=300)
    if driver.returncode:  # a rank was there; engines alone are started anew on what is left
        assert driver.returncode == TRY_AGAIN, said
        assert "error: rank " in said
        subprocess.run(command, check=True, timeout=300)
    rows = read_metrics(out)
    assert [row["step"] for row in rows] == list(range(STEPS + 1))
