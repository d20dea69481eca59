"""Factors travel between the caches of two raylets, each with a folder of its own."""

from functools import partial

import pytest
import torch
from safetensors.torch import load_file, save_file

from jobs.cluster.actors import EngineActor
from jobs.cluster.engine_restart import RemoteEngine
from jobs.cluster.factors import bring, keep, lacking, read
from rlpeft.adapter_state import AdapterState
from rlpeft.adapters.svf.factors import factorise, factors_path
from rlpeft.errors import ClusterError
from rlpeft.rollout.proof import Proof

NOWHERE = "0" * 64


@pytest.fixture(scope="module")
def other_node(cluster, tmp_path_factory):
    """A second raylet of the session's cluster, where `other` is; its empty cache of factors."""
    import ray
    from ray.cluster_utils import Cluster

    folder = tmp_path_factory.mktemp("cache")
    raylets = Cluster(shutdown_at_exit=False)  # it would take our SIGTERM
    # The session's own: a cluster begun here, or `ray start`, would leave a file by which every
    # other process of this machine would join it.
    raylets.head_node = ray._private.worker._global_node
    cache = {"XDG_CACHE_HOME": str(folder)}
    node = raylets.add_node(wait=False, num_cpus=3, resources={"other": 3}, env_vars=cache)
    place = ray.util.placement_group([{"other": 3}])
    assert place.wait(300), "the second raylet did not join the cluster"
    ray.util.remove_placement_group(place)
    yield folder / "rlpeft" / "factors"
    raylets.remove_node(node)


@pytest.fixture(scope="module")
def turned():
    """Puts factors of a weight that no node has seen into this node's cache; digest and weight.

    Their basis is turned round: whoever has it has not computed it.
    """
    paths, generator = [], torch.Generator()
    generator.seed()

    def make():
        weight = torch.randn(5, 9, generator=generator)
        digest = factorise(weight, "gram").digest
        paths.append(factors_path(digest))
        tensors = load_file(paths[-1])
        save_file({**tensors, "basis": -tensors["basis"]}, paths[-1])
        return digest, weight

    yield make
    for path in paths:
        path.unlink()


def there(actor):
    """An actor or task of the second raylet."""
    import ray

    return ray.remote(actor).options(num_cpus=1, resources={"other": 1})


def builder(tmp_path, weight):
    """A `build` of an engine that factorises a weight, as `hf` does; travels by value."""

    def build():
        from safetensors.torch import save_file

        from rlpeft.adapters.svf.factors import factorise
        from rlpeft.rollout.fake import FakeEngine
        from rlpeft.types import FinishReason

        save_file({"basis": factorise(weight, "gram").basis}, tmp_path / "used.safetensors")
        return FakeEngine(lambda *_: ((1,), (-0.5,), "", FinishReason.STOP))

    return build


@pytest.fixture(scope="module")
def learners(turned):
    """Digest and weight of what the learner has, when the engine starts."""
    return turned()


@pytest.fixture(scope="module")
def engine(other_node, learners, tmp_path_factory):
    """An engine on the second raylet; a folder with the basis it was built with."""
    import ray

    digest, weight = learners
    folder = tmp_path_factory.mktemp("engine")
    spawn = partial(there(EngineActor).remote, builder(folder, weight), 1)
    engine = RemoteEngine("engine 0", spawn, timeout_s=300, factors=ray.put({"q": digest}))
    engine.ready()
    yield engine, folder
    engine.kill()


@pytest.mark.ray
def test_an_engine_finds_the_learners_factors_before_it_would_compute_its_own(
    engine, learners, other_node
):
    digest, _ = learners
    used = load_file(engine[1] / "used.safetensors")["basis"]
    assert torch.equal(used, load_file(factors_path(digest))["basis"])
    assert (other_node / f"{digest}.safetensors").read_bytes() == factors_path(digest).read_bytes()


@pytest.mark.ray
def test_a_sync_brings_the_factors_that_the_policy_names(engine, turned, other_node):
    digest, _ = turned()
    state = AdapterState({"peft_type": "SVF"}, {"z": torch.ones(3)}, 1, {"q": digest})
    engine[0].ask("sync", Proof(state, [[1, 2, 3]], [[0.0, 0.0]], bound=1e-3))
    engine[0].result()
    assert (other_node / f"{digest}.safetensors").read_bytes() == factors_path(digest).read_bytes()


@pytest.mark.ray
def test_a_node_is_given_a_file_once_however_many_ask(other_node, turned):
    import ray

    digest, _ = turned()

    def ask(digest):
        from jobs.cluster.factors import bring
        from rlpeft.adapters.svf.factors import factors_path

        bring([digest])
        return factors_path(digest).stat().st_ino

    inodes = ray.get([there(ask).remote(digest) for _ in range(2)])
    assert len(set(inodes)) == 1
    assert not list(other_node.glob(".partial.*"))


@pytest.mark.ray
def test_what_no_node_has_stays_away(other_node):
    import ray

    ray.get(there(bring).remote([NOWHERE]))
    assert not (other_node / f"{NOWHERE}.safetensors").exists()


def test_a_file_that_changed_on_its_way_is_refused(turned):
    digest, _ = turned()
    content, sent = read(digest)
    with pytest.raises(ClusterError, match="must arrive as they were sent"):
        keep(NOWHERE, content[:-1] + b"x", sent)
    assert lacking([digest, NOWHERE]) == [NOWHERE]


def test_a_digest_that_is_a_path_is_never_asked_for():
    bring(["../../secret", NOWHERE[:-1], f"{NOWHERE}/../x"])  # there is no cluster to ask
