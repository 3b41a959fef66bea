"""What both kinds of cluster can do."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol


class Provider(Protocol):
    """A cluster of one layout."""

    def up(self) -> None:
        """Bring it up or repair it; raises ClusterError when that fails."""

    def down(self) -> None:
        """Remove it; harmless when nothing is there."""

    def problems(self) -> list[str]:
        """What is wrong with it, each in a few words."""

    def load_images(self, context: Path) -> dict[str, str]:
        """Build the product's images where their content changed and load them; target to image name."""
