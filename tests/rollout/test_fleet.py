"""What every fleet makes of an engine, and a fleet of this process."""

import pytest

from rlpeft.errors import EngineError
from rlpeft.rollout.fake import FakeEngine, Faults
from rlpeft.rollout.fleet import Fleet, LocalFleet, promised
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
