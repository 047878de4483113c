"""Frozen weights: split off before the gradient, and proven unmoved."""

from __future__ import annotations

import dataclasses

from heredity.common.errors import FrozenError
from heredity.weights.tree import Params, content_hash, flatten


@dataclasses.dataclass(frozen=True)
class FrozenProof:
    """What the bytes of the frozen leaves were when training started.

    Args:
        hashes: SHA-256 of each frozen leaf, by path.
    """

    hashes: dict[str, str]

    @classmethod
    def of(cls, frozen: Params) -> FrozenProof:
        """Take the hashes of every leaf of `frozen`."""
        return cls({path: content_hash({"leaf": leaf}) for path, leaf in flatten(frozen).items()})

    def check(self, params: Params) -> None:
        """Compare byte for byte.

        Args:
            params: All weights of the policy, frozen and trained.

        Raises:
            FrozenError: naming each leaf that moved or vanished.
        """
        leaves = flatten(params)
        moved = [
            path
            for path, expected in self.hashes.items()
            if path not in leaves or content_hash({"leaf": leaves[path]}) != expected
        ]
        if moved:
            raise FrozenError(
                f"{len(moved)} frozen weights moved: {', '.join(moved[:5])}. "
                "Nothing after the last good checkpoint can be trusted"
            )
