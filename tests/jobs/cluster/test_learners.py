"""Several ranks of a learner in actors: the driver speaks to the first and loses none unnoticed."""

import os
import signal

import pytest

from rlpeft.build import build_learner
from rlpeft.errors import ClusterError
from rlpeft.training.packing import Sample

SAMPLES = [
    Sample((5, 6, 7, 4 + at), (8 + at, 9, 2), (-2.0,) * 3, advantage)
    for at, advantage in enumerate((1.0, -1.0, 0.5, -0.5))
]


@pytest.mark.ray
@pytest.mark.slow
def test_ranks_in_actors_learn_as_one_and_one_that_is_killed_is_named(cluster, quick, tiny):
    from jobs.cluster.connect import bundles_of, reserved
    from jobs.cluster.learners import remote_learner

    recipe = quick(resources={"learners": 2})
    alone = build_learner(recipe, tiny)
    expected = alone.step(SAMPLES)
    with reserved(bundles_of(recipe.resources, 0), timeout_s=60) as group:
        learner = remote_learner(recipe, tiny, group)
        learner.ready()
        found = learner.step(SAMPLES)
        assert found["perf/learner_ranks"] == 2
        assert found["loss"] == pytest.approx(expected["loss"], rel=1e-5)
        assert found["grad_norm"] == pytest.approx(expected["grad_norm"], rel=1e-5)
        assert learner.adapter_state().version == 1
        os.kill(process_of(learner._actors[1]), signal.SIGKILL)
        message = "rank 1 of the learner must stay alive, it is gone"
        with pytest.raises(ClusterError, match=message):
            learner.step(SAMPLES)


def process_of(actor):
    from ray.util.state import get_actor

    return get_actor(actor._actor_id.hex()).pid
