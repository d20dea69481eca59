"""Threads that work one at a time."""

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier, Event

import pytest

from rlpeft.program.turns import Stopped, Turns


def test_those_who_pass_their_turn_on_come_in_turn():
    turns, together, order = Turns(), Barrier(3), []

    def work(name):
        together.wait()
        with turns.taken():
            while min(map(order.count, "abc")) < 5:
                order.append(name)
                turns.pass_on()

    with ThreadPoolExecutor(3) as threads:
        [*threads.map(work, "abc")]
    all_there = max(map(order.index, "abc"))
    rounds = [order[at : at + 3] for at in range(all_there, len(order) - 2)]
    assert len(rounds) > 3
    assert all(len({*names}) == 3 for names in rounds)


def test_nobody_works_beside_who_has_the_turn():
    turns, working = Turns(), []

    def work(name):
        for _ in range(50):
            with turns.taken():
                working.append(name)
                assert working == [name]
                working.remove(name)

    with ThreadPoolExecutor(4) as threads:
        [*threads.map(work, "abcd")]


def test_who_waits_for_a_turn_that_will_not_come_is_told():
    turns, asked = Turns(), Event()

    def wait():
        asked.set()
        with turns.taken():
            raise AssertionError("there was no turn")

    with ThreadPoolExecutor(1) as threads:
        with turns.taken():
            other = threads.submit(wait)
            asked.wait()
            turns.stop()
        with pytest.raises(Stopped):
            other.result(timeout=60)
    with pytest.raises(Stopped), turns.taken():
        pass
