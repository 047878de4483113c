"""What the options of all parts of a world model have in common."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar, TypeVar

import jax.numpy as jnp

from heredity.common.errors import RefusedError, UnknownNameError, UsageError
from heredity.networks.contract import NetworkSpec

DTYPES: Mapping[str, Any] = {"float32": jnp.float32, "bfloat16": jnp.bfloat16}

Options = TypeVar("Options", bound="WorldOptions")


@dataclasses.dataclass(frozen=True)
class WorldOptions:
    """Sizes of a network, and what it computes in.

    Args:
        dtype: float32 or bfloat16. Weights are float32.
    """

    kind: ClassVar[str]
    dtype: str = "float32"

    def __post_init__(self) -> None:
        if self.dtype not in DTYPES:
            raise UnknownNameError("dtype", self.dtype, DTYPES)
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if field.type == "int" and (
                not isinstance(value, int) or isinstance(value, bool) or value < 0
            ):
                raise UsageError(
                    f"{self.kind} {field.name} {value!r}: a whole number >= 0 was expected"
                )

    def spec(self) -> NetworkSpec:
        """These options as a specification."""
        return NetworkSpec(self.kind, dataclasses.asdict(self))


def read_world_options(kind: type[Options], spec: NetworkSpec) -> Options:
    """The options of a kind from a specification.

    Raises:
        UnknownNameError: for an option that the kind does not have.
        RefusedError: for a value of a wrong type.
    """
    known = [field.name for field in dataclasses.fields(kind)]
    for name in spec.options:
        if name not in known:
            raise UnknownNameError(f"option of the network kind {spec.kind!r}", name, known)
    try:
        return kind(**spec.options)
    except TypeError as error:
        told = f"does not describe a network of the kind {spec.kind!r} ({error})"
        raise RefusedError("network", told) from None
