"""The fleet of actors: work shared out, deaths mended, mistakes passed on."""

import os
import signal
import threading
import time
from concurrent.futures import as_completed
from dataclasses import replace
from functools import partial

import psutil
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from jobs.cluster.engine_restart import RemoteEngine
from jobs.cluster.fleet import RayFleet, share
from rlpeft.adapter_state import AdapterState
from rlpeft.errors import ClusterError, EngineError
from rlpeft.rollout.proof import Proof
from rlpeft.types import Request, Sampling

SAMPLING = Sampling(max_tokens=4)
REQUESTS = [Request(f"r/{i}", (1,) * (i + 1), (10 * i, 10 * i + 1)) for i in range(7)]


def proof(version=1):
    state = AdapterState({"peft_type": "SVF"}, {"z": torch.ones(3) * version}, version)
    return Proof(state, [[1, 2, 3]], [[0.0, 0.0]], bound=1e-3)


@pytest.fixture
def fleet_of(cluster):
    """A maker of fleets of fake engines; `build` runs in the actors."""
    import ray

    from jobs.cluster.actors import EngineActor

    fleets = []

    def make(build, num_engines=1, **limits):
        spawn = partial(ray.remote(EngineActor).options(num_cpus=1).remote, build, 1)
        limits = {"timeout_s": 60.0} | limits
        engines = [RemoteEngine(f"engine {i}", spawn, **limits) for i in range(num_engines)]
        fleets.append(RayFleet(engines, rows_a_call=256))
        fleets[-1].ready()
        return fleets[-1]

    yield make
    for fleet in fleets:
        fleet.close()


def builder(tmp_path, *, when="rollout", fate=None, times=1):
    """A `build` of fake engines; the first `times` that come to `when` meet `fate`.

    What is asked for as `slow` is answered once there is a file `go`.

    Nested, so that it travels by value: workers cannot import this file.
    """

    def build():
        import os
        import time

        from rlpeft.rollout.fake import FakeEngine
        from rlpeft.types import FinishReason

        def script(request, seed):
            while request.id == "slow" and not (tmp_path / "go").exists():
                time.sleep(0.05)
            text = f"{request.id}:{seed}"
            return (seed,), (-0.5,), text, FinishReason.STOP

        class Doomed(FakeEngine):
            def rollout(self, requests, sampling):
                for name in ("asked", f"asked-{os.getpid()}"):
                    with (tmp_path / name).open("a") as file:
                        file.write("".join(f"{request.id}\n" for request in requests))
                meet("rollout")
                return super().rollout(requests, sampling)

            def load_adapter(self, state):
                meet("sync")
                return super().load_adapter(state)

        def meet(moment):
            if moment != when or fate is None:
                return
            for number in range(times):
                try:
                    (tmp_path / f"fate-{number}").touch(exist_ok=False)
                except FileExistsError:
                    continue
                fate()

        return Doomed(script)

    return build


def killed():
    os.kill(os.getpid(), signal.SIGKILL)


def answers(fleet):
    return [[c.text for c in group] for group in fleet.rollout(REQUESTS, SAMPLING)]


EXPECTED = [[f"{r.id}:{seed}" for seed in r.seeds] for r in REQUESTS]


@given(
    st.lists(st.tuples(st.integers(1, 50), st.integers(1, 9)), max_size=40),
    st.integers(1, 6),
)
def test_every_request_is_in_one_part_and_parts_weigh_about_the_same(sizes, num_parts):
    requests = [Request(str(i), (0,) * n, (0,) * g) for i, (n, g) in enumerate(sizes)]
    parts = share(requests, num_parts, 10, rows_a_call=10**6)
    assert sorted(index for part in parts for index in part) == list(range(len(requests)))
    costs = [(n + 10) * g for n, g in sizes]
    loads = [sum(costs[i] for i in part) for part in parts]
    if loads:  # the bound of greedy sharing: no part exceeds the mean by more than one request
        assert max(loads) <= sum(costs) / num_parts + max(costs)


@given(
    st.lists(st.tuples(st.integers(1, 50), st.integers(1, 9)), min_size=1, max_size=40),
    st.integers(2, 6),
    st.integers(1, 20),
)
def test_calls_are_no_larger_than_an_engine_runs_at_once_where_there_are_more(sizes, engines, most):
    requests = [Request(str(i), (0,) * n, (0,) * g) for i, (n, g) in enumerate(sizes)]
    rows = sum(g for _, g in sizes)
    parts = share(requests, engines, 10, rows_a_call=most)
    assert sorted(index for part in parts for index in part) == list(range(len(requests)))
    if rows <= engines * most:
        assert len(parts) <= engines
    else:
        assert all(len(p) == 1 or sum(sizes[i][1] for i in p) <= most for p in parts)
    assert share(requests, 1, 10, rows_a_call=most) == [tuple(range(len(requests)))]


@pytest.mark.ray
def test_answers_come_in_request_order_then_seed_order(fleet_of, tmp_path):
    fleet = fleet_of(builder(tmp_path), num_engines=2)
    fleet.sync(proof())
    assert answers(fleet) == EXPECTED


def one_by_one(tmp_path, *, fate=None):
    """A `build` of fake engines that end requests one after another.

    `slow` ends once there is a file `go`; the first engine that comes to it meets `fate`.
    """

    def build():
        from rlpeft.rollout.fake import FakeEngine
        from rlpeft.types import FinishReason

        def script(request, seed):
            return (seed,), (-0.5,), f"{request.id}:{seed}", FinishReason.STOP

        class OneByOne(FakeEngine):
            def stream(self, requests, sampling):
                for place, request in enumerate(requests):
                    if request.id == "slow":
                        wait()
                    [done] = self.rollout([request], sampling)
                    yield {place: done}

        def wait():
            import time

            if fate is not None and not (tmp_path / "met").exists():
                (tmp_path / "met").touch()
                time.sleep(1)  # let its answers travel
                fate()
            while not (tmp_path / "go").exists():
                time.sleep(0.05)

        return OneByOne(script)

    return build


SLOW, QUICK = Request("slow", (1,), (0,)), [Request(f"r/{i}", (1,), (0,)) for i in range(4)]


@pytest.mark.ray
def test_an_engine_that_is_free_takes_what_waits_and_answers_come_as_they_are_done(
    fleet_of, tmp_path
):
    fleet = fleet_of(builder(tmp_path), num_engines=2)
    fleet.sync(proof())
    asked = {}
    for request in [SLOW, *QUICK]:  # a call each
        asked |= dict.fromkeys(fleet.submit([request], SAMPLING), request.id)
    done = as_completed(asked)
    assert [asked[next(done)] for _ in QUICK] == [r.id for r in QUICK]
    (tmp_path / "go").touch()
    assert asked[next(done)] == "slow"
    shares = sorted(len(path.read_text().split()) for path in tmp_path.glob("asked-*"))
    assert shares == [1, 4]


@pytest.mark.ray
def test_answers_of_one_call_come_as_they_end(fleet_of, tmp_path):
    fleet = fleet_of(one_by_one(tmp_path))
    fleet.sync(proof())
    parts = fleet.stream([*QUICK, SLOW], SAMPLING)
    assert [[*next(parts)] for _ in QUICK] == [[0], [1], [2], [3]]
    (tmp_path / "go").touch()
    assert [[*part] for part in parts] == [[4]]


@pytest.mark.ray
@pytest.mark.parametrize("num_engines", [1, 2])
def test_groups_in_flight_in_a_killed_engine_come_once(fleet_of, tmp_path, num_engines):
    fleet = fleet_of(one_by_one(tmp_path, fate=killed), num_engines=num_engines)
    fleet.sync(proof(version=5))
    parts, found = fleet.stream([*QUICK, SLOW], SAMPLING), []
    while len(found) < len(QUICK):  # what the engine had done before it was killed is kept
        found += next(parts).items()
    (tmp_path / "go").touch()
    found += [item for part in parts for item in part.items()]
    assert sorted(place for place, _ in found) == [0, 1, 2, 3, 4]
    assert {c.version for _, group in found for c in group} == {5}
    fleet.sync(proof(version=6))  # which waits for the successor
    assert {c.version for group in fleet.rollout(QUICK, SAMPLING) for c in group} == {6}


@pytest.mark.ray
def test_what_was_asked_for_before_a_sync_runs_the_policy_of_that_moment(fleet_of, tmp_path):
    fleet = fleet_of(builder(tmp_path))
    fleet.sync(proof(version=1))
    answers = [a for request in [SLOW, *QUICK] for a in fleet.submit([request], SAMPLING)]
    threading.Timer(3, (tmp_path / "go").touch).start()
    fleet.sync(proof(version=2))
    assert {c.version for answer in answers for c in answer.result(timeout=0)} == {1}
    assert {c.version for group in fleet.rollout(QUICK, SAMPLING) for c in group} == {2}


def versions(parts):
    return [c.version for part in parts for group in part.values() for c in group]


@pytest.mark.ray
@pytest.mark.parametrize("num_engines", [1, 2])
def test_an_engine_killed_with_two_policies_in_flight_loses_and_mixes_nothing(
    fleet_of, tmp_path, num_engines
):
    fleet = fleet_of(one_by_one(tmp_path, fate=killed), num_engines=num_engines)
    first = fleet.publish(proof(version=1))
    earlier = fleet.stream([*QUICK, SLOW], SAMPLING)
    second = fleet.publish(proof(version=2))
    later = fleet.stream(REQUESTS, SAMPLING)
    before, found = fleet.idle_s, [next(earlier)]
    (tmp_path / "go").touch()
    found += earlier
    assert versions(found) == [1] * 5
    assert sorted(place for part in found for place in part) == [0, 1, 2, 3, 4]
    assert versions(later) == [2] * 14
    assert first.metrics()["sync/bytes"] == second.metrics()["sync/bytes"] == 12
    fleet.sync(proof(version=3))
    assert versions(fleet.stream(QUICK, SAMPLING)) == [3] * 4
    assert fleet.idle_s > before


@pytest.mark.ray
def test_a_policy_that_cannot_be_proven_fails_what_was_asked_under_it(fleet_of):
    def build():
        from rlpeft.rollout.fake import FakeEngine, Faults

        return FakeEngine(lambda request, seed: None, faults=Faults(digest="0" * 64))

    fleet = fleet_of(build)
    fleet.publish(proof())
    with pytest.raises(EngineError, match="was not delivered"):
        next(fleet.stream(REQUESTS, SAMPLING))


@pytest.mark.ray
def test_a_fleet_that_is_closed_lets_nobody_wait(fleet_of, tmp_path):
    fleet = fleet_of(builder(tmp_path, fate=killed, times=99))
    fleet.sync(proof())
    fleet.engines[0].max_deaths = 99
    answers = [a for request in [SLOW, *QUICK] for a in fleet.submit([request], SAMPLING)]
    fleet.close()
    for answer in answers:
        with pytest.raises(ClusterError, match="engine 0"):
            answer.result(timeout=300)


@pytest.mark.ray
@pytest.mark.parametrize("num_engines", [1, 2])  # the lost part goes to a successor, or a survivor
def test_a_killed_engine_loses_and_repeats_no_sample(fleet_of, tmp_path, num_engines):
    fleet = fleet_of(builder(tmp_path, fate=killed), num_engines=num_engines)
    fleet.sync(proof(version=5))
    done = fleet.rollout(REQUESTS, SAMPLING)
    assert [[c.text for c in group] for group in done] == EXPECTED
    # The successor answers under the policy its predecessor had proven.
    assert {c.version for group in done for c in group} == {5}
    asked = (tmp_path / "asked").read_text().split()
    assert set(asked) == {r.id for r in REQUESTS}
    assert len(asked) > len(REQUESTS)  # the lost part was asked for again


@pytest.mark.ray
@pytest.mark.parametrize("num_engines", [1, 2])
def test_the_successor_of_a_killed_engine_has_its_experts(fleet_of, tmp_path, num_engines):
    fleet = fleet_of(builder(tmp_path, fate=killed), num_engines=num_engines)
    expert = AdapterState({"peft_type": "SVF"}, {"z": torch.zeros(3)}, version=9)
    fleet.load_experts({"swap": expert})
    requests = [replace(request, expert="swap") for request in REQUESTS]
    done = fleet.rollout(requests, SAMPLING)
    assert {(c.version, c.digest) for group in done for c in group} == {(9, expert.digest)}


@pytest.mark.ray
def test_an_engine_killed_during_a_sync_is_replaced_and_proven(fleet_of, tmp_path):
    fleet = fleet_of(builder(tmp_path, when="sync", fate=killed))
    report = fleet.sync(proof(version=2))
    assert report.num_bytes == 12
    assert {c.version for group in fleet.rollout(REQUESTS, SAMPLING) for c in group} == {2}


@pytest.mark.ray
def test_an_engine_that_keeps_dying_stops_the_run_by_name(fleet_of, tmp_path):
    fleet = fleet_of(builder(tmp_path, fate=killed, times=99), max_deaths=1)
    fleet.sync(proof())
    with pytest.raises(ClusterError, match="engine 0 must stay alive, it died 2 times"):
        fleet.rollout(REQUESTS, SAMPLING)


@pytest.mark.ray
def test_an_engine_that_stalls_is_replaced(fleet_of, tmp_path, wait_for):
    fleet = fleet_of(builder(tmp_path, fate=partial(time.sleep, 3600)))
    fleet.sync(proof())
    fleet.engines[0].timeout_s = 5
    answers = fleet.submit(REQUESTS, SAMPLING)
    wait_for((tmp_path / "fate-0").exists)
    fleet.engines[0].timeout_s = 300  # its successor has time to start on a busy machine
    assert [[c.text for c in answer.result()] for answer in answers] == EXPECTED


@pytest.mark.ray
def test_an_error_of_the_engine_itself_is_raised_once_and_as_itself(fleet_of, tmp_path):
    def mistaken():
        from rlpeft.errors import EngineError

        raise EngineError("this prompt cannot be.")

    fleet = fleet_of(builder(tmp_path, fate=mistaken, times=99))
    fleet.sync(proof())
    with pytest.raises(EngineError, match=r"^this prompt cannot be\.$"):
        fleet.rollout(REQUESTS, SAMPLING)
    assert not (tmp_path / "fate-1").exists()


@pytest.mark.ray
def test_an_engine_that_reports_its_own_death_is_replaced(fleet_of, tmp_path):
    def reported():
        from rlpeft.errors import EngineDiedError

        raise EngineDiedError("the engine's core is gone.")

    fleet = fleet_of(builder(tmp_path, fate=reported))
    fleet.sync(proof())
    assert answers(fleet) == EXPECTED


@pytest.mark.ray
def test_an_engine_that_dies_too_often_tells_its_own_cause(fleet_of, tmp_path):
    def reported():
        from rlpeft.errors import EngineDiedError

        raise EngineDiedError("vLLM's process died (KeyError: 'z'): its log: /tmp/x.log.")

    fleet = fleet_of(builder(tmp_path, fate=reported, times=99))
    fleet.sync(proof())
    with pytest.raises(ClusterError, match=r"at last with: vLLM's process died \(KeyError: 'z'\)"):
        fleet.rollout(REQUESTS, SAMPLING)


@pytest.mark.ray
def test_what_a_lost_engine_owes_comes_before_what_was_asked_for_later(fleet_of, tmp_path):
    fleet = fleet_of(builder(tmp_path, fate=killed))
    fleet.sync(proof())
    first, later = fleet.submit(REQUESTS[:1], SAMPLING), fleet.submit(REQUESTS[1:2], SAMPLING)
    for answer in (*later, *first):
        answer.result()
    assert (tmp_path / "asked").read_text().split() == ["r/0", "r/0", "r/1"]


@pytest.mark.ray
def test_a_sync_that_cannot_be_proven_stops_the_run(fleet_of):
    def build():
        from rlpeft.rollout.fake import FakeEngine, Faults

        return FakeEngine(lambda request, seed: None, faults=Faults(digest="0" * 64))

    fleet = fleet_of(build)
    with pytest.raises(EngineError, match="was not delivered"):
        fleet.sync(proof())


@pytest.mark.ray
def test_an_engine_that_cannot_be_built_says_why(fleet_of):
    def build():
        from rlpeft.errors import ModelError

        raise ModelError("no such model.")

    with pytest.raises(EngineError.__base__, match=r"^no such model\.$"):
        fleet_of(build)


@pytest.mark.ray
def test_no_process_of_an_engine_outlives_its_actor_and_its_death_is_told(
    fleet_of, tmp_path, engines, wait_for, capsys
):
    def build():
        import subprocess

        from rlpeft.rollout.fake import FakeEngine

        child = subprocess.Popen(["sleep", "600"], start_new_session=True)
        (tmp_path / f"child-{child.pid}").touch()
        return FakeEngine(lambda request, seed: None)

    fleet = fleet_of(build)
    fleet.sync(proof())
    [engine] = engines()
    wait_for(lambda: any("jobs.cluster.reaper" in c.cmdline() for c in engine.children()))
    time.sleep(3)  # let it look once
    engine.kill()
    fleet.sync(proof())
    assert "engine 0 died and is started anew (time 1 of at most" in capsys.readouterr().err
    [successor] = engines()
    wait_for(lambda: any("jobs.cluster.reaper" in c.cmdline() for c in successor.children()))
    time.sleep(3)
    fleet.close()
    children = [int(path.name.removeprefix("child-")) for path in tmp_path.glob("child-*")]
    assert len(children) == 2
    wait_for(lambda: not any(psutil.pid_exists(child) for child in children))
