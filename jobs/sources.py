"""From where a server may have experts loaded. Told before libraries are loaded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rlpeft.errors import ConfigError


@dataclass(frozen=True)
class Sources:
    """From where requests may have experts loaded: below folders, or by their ids on the Hub."""

    roots: Sequence[Path] = ()
    hub: bool = False

    def __bool__(self) -> bool:
        return bool(self.roots) or self.hub

    def check(self, api_key: str | None) -> None:
        """Refuse a folder that is none, and to let everybody change what is served.

        Raises:
            ConfigError: experts may be loaded, and there is no key; or says which folder.
        """
        for root in self.roots:
            if not root.is_dir():
                raise ConfigError(f"--load-from must name a folder, {str(root)!r} is none.")
        if self and api_key is None:
            raise ConfigError(
                "--load-from and --load-hub need --api-key: without one, whoever reaches the port "
                "could change what is served."
            )
