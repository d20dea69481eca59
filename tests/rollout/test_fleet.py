"""What every fleet makes of an engine, and a fleet of this process."""

from threading import Thread

import pytest
import torch

from rlpeft.adapter_state import AdapterState
from rlpeft.errors import EngineError
from rlpeft.rollout.fake import FakeEngine, Faults
from rlpeft.rollout.fleet import Fleet, Idle, LocalFleet, promised
from rlpeft.rollout.proof import Proof
from rlpeft.types import FinishReason, Request, Sampling

REQUESTS = [Request("a", (1, 2), (10, 11)), Request("b", (3,), (12,))]
SAMPLING = Sampling(max_tokens=4)


def echo(request, seed):
    return (seed,), (-0.5,), f"{request.id}{seed}", FinishReason.STOP


def test_a_local_fleet_answers_each_request_in_one_batch():
    engine = FakeEngine(echo)
    answers = LocalFleet(engine).submit(REQUESTS, SAMPLING)
    assert all(answer.done() for answer in answers)
    texts = [[done.text for done in answer.result()] for answer in answers]
    assert texts == [["a10", "a11"], ["b12"]]
    assert engine.requests == [REQUESTS]


def test_a_local_fleet_tells_what_its_engine_refuses():
    fleet = LocalFleet(FakeEngine(echo, faults=Faults(survives=0)))
    with pytest.raises(EngineError, match="died"):
        fleet.submit(REQUESTS, SAMPLING)


def test_a_local_fleet_hands_on_what_its_engine_has_done():
    class OneByOne(FakeEngine):
        def stream(self, requests, sampling):
            for place, answer in enumerate(self.rollout(requests, sampling)):
                yield {place: answer}

    parts = LocalFleet(OneByOne(echo)).stream(REQUESTS, SAMPLING)
    assert [[*part] for part in parts] == [[0], [1]]


class Promises(Fleet):
    """Gives answers that the test fills in."""

    def __init__(self, answers):
        self.answers = answers

    def submit(self, requests, sampling):
        return self.answers

    def close(self):
        pass


def test_a_rollout_is_its_answers_in_the_order_of_requests():
    first, second = promised(), promised()
    second.set_result(["b"])
    first.set_result(["a"])
    assert Promises([first, second]).rollout(REQUESTS, SAMPLING) == [["a"], ["b"]]


def test_a_fleet_that_tells_nothing_before_its_end_gives_all_at_once():
    done = [promised(), promised()]
    for answer, text in zip(done, "ab", strict=True):
        answer.set_result([text])
    assert list(Promises(done).stream(REQUESTS, SAMPLING)) == [{0: ["a"], 1: ["b"]}]


def test_a_rollout_tells_the_first_error_without_waiting_for_the_others():
    never, failed = promised(), promised()
    failed.set_exception(EngineError("this prompt cannot be."))
    with pytest.raises(EngineError, match="cannot be"):
        Promises([never, failed]).rollout(REQUESTS, SAMPLING)


def test_an_answer_that_an_engine_is_at_cannot_be_cancelled():
    assert not promised().cancel()


def proof(version):
    state = AdapterState({"peft_type": "SVF"}, {"z": torch.ones(3) * version}, version)
    return Proof(state, [[1, 2, 3]], [[0.0, 0.0]], bound=1e-3)


def ran(parts):
    return {done.version for part in parts for group in part.values() for done in group}


def test_what_was_asked_keeps_its_policy_and_what_is_asked_later_has_the_next():
    engine = FakeEngine(echo)
    fleet = LocalFleet(engine)
    first = fleet.publish(proof(1))
    earlier = fleet.stream(REQUESTS, SAMPLING)
    second = fleet.publish(proof(2))
    assert first.reports == second.reports == []
    assert ran(fleet.stream(REQUESTS, SAMPLING)) == {2}
    assert ran(earlier) == {1}
    assert [done.version for group in fleet.rollout(REQUESTS, SAMPLING) for done in group] == [
        2
    ] * 3
    assert [state.version for state in engine.states] == [2, 1, 2]
    assert first.metrics() == {"sync/bytes": 12, "sync/seconds": 0.0, "sync/gap": 0.0}


def test_a_policy_that_an_engine_runs_is_not_sent_again():
    engine = FakeEngine(echo)
    fleet = LocalFleet(engine)
    fleet.sync(proof(1))
    for _ in range(2):
        assert ran(fleet.stream(REQUESTS, SAMPLING)) == {1}
    assert [state.version for state in engine.states] == [1]


def test_a_policy_that_cannot_be_proven_fails_what_is_asked_under_it():
    fleet = LocalFleet(FakeEngine(echo, faults=Faults(digest="f" * 64)))
    fleet.publish(proof(1))
    with pytest.raises(EngineError, match="was not delivered"):
        fleet.rollout(REQUESTS, SAMPLING)


def test_an_engine_that_can_rest_does_and_others_are_let_alone():
    class Resting(FakeEngine):
        rests = 0

        def rest(self):
            self.rests += 1

    engine = Resting(echo)
    LocalFleet(engine).rest()
    LocalFleet(FakeEngine(echo)).rest()
    assert engine.rests == 1


def test_an_engine_does_not_rest_while_it_is_asked():
    class Resting(FakeEngine):
        def stream(self, requests, sampling):
            yield {0: self.rollout(requests, sampling)[0]}
            said.append("answered")

        def rest(self):
            said.append("rests")

    said, fleet = [], LocalFleet(Resting(echo))
    stream = fleet.stream(REQUESTS, SAMPLING)
    next(stream)
    resting = Thread(target=fleet.rest, daemon=True)
    resting.start()
    resting.join(0.1)
    assert list(stream) == []
    resting.join()
    assert said == ["answered", "rests"]


def test_an_engine_is_idle_between_what_it_is_asked():
    idle = Idle()
    before = idle.seconds
    assert idle.seconds > before
    with idle.ended():
        before = idle.seconds
        assert idle.seconds == before
    assert idle.seconds > before
