"""From where a server may have experts loaded."""

from pathlib import Path

import pytest

from jobs.sources import Sources
from rlpeft.errors import ConfigError


def test_nothing_is_loaded_without_a_key(tmp_path: Path) -> None:
    Sources().check(None)
    for sources in (Sources([tmp_path]), Sources(hub=True)):
        sources.check("a key")
        with pytest.raises(ConfigError, match="need --api-key"):
            sources.check(None)


def test_a_folder_that_is_none_is_told_at_the_start(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="must name a folder"):
        Sources([tmp_path / "absent"]).check("a key")
