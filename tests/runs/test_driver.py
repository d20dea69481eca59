"""Who holds a run's folder: seen without being in the way."""

import fcntl
import threading
import time

from rlpeft.runs.driver import LOCK_FILE, has_driver, take


def test_a_driver_is_seen_as_long_as_it_lives(tmp_path):
    assert not has_driver(tmp_path)
    with (tmp_path / LOCK_FILE).open("w") as lock:
        assert take(lock)
        assert has_driver(tmp_path)
    assert not has_driver(tmp_path)


def test_a_second_driver_gets_no_lock(tmp_path):
    with (tmp_path / LOCK_FILE).open("w") as first, (tmp_path / LOCK_FILE).open("w") as second:
        assert take(first)
        assert not take(second)


def test_who_only_looks_keeps_no_driver_out(tmp_path):
    path = tmp_path / LOCK_FILE
    path.touch()
    with path.open() as look, path.open("w") as lock:
        fcntl.flock(look, fcntl.LOCK_SH)
        threading.Thread(
            target=lambda: (time.sleep(0.05), fcntl.flock(look, fcntl.LOCK_UN))
        ).start()
        assert take(lock)
