"""What the layers of every kind of network share: activations, initialisers, precision."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from heredity.common.errors import RefusedError, UnknownNameError, UsageError
from heredity.networks.contract import NetworkSpec

ACTIVATIONS: Mapping[str, Callable[[jax.Array], jax.Array]] = {
    "elu": nn.elu,
    "gelu": nn.gelu,
    "leaky_relu": nn.leaky_relu,
    "relu": nn.relu,
    "selu": nn.selu,
    "swish": nn.swish,
    "tanh": nn.tanh,
}

_GELU_SCALE = np.float32((2 / np.pi) ** 0.5)  # of the tanh approximation, which Flax uses

_SELU_ALPHA, _SELU_SCALE = np.float32(1.6732632423543772), np.float32(1.0507009873554805)

NUMPY_ACTIVATIONS: Mapping[str, Callable[[np.ndarray], np.ndarray]] = {
    "elu": lambda x: np.where(x > 0, x, np.expm1(np.minimum(x, 0))),
    "gelu": lambda x: 0.5 * x * (1 + np.tanh(_GELU_SCALE * (x + 0.044715 * x * x * x))),
    "leaky_relu": lambda x: np.where(x > 0, x, np.float32(0.01) * x),
    "relu": lambda x: np.maximum(x, 0),
    "selu": lambda x: _SELU_SCALE * np.where(x > 0, x, _SELU_ALPHA * np.expm1(np.minimum(x, 0))),
    "swish": lambda x: x * (0.5 + 0.5 * np.tanh(0.5 * x)),
    "tanh": np.tanh,
}

INITIALIZERS: Mapping[str, Callable[[float], Any]] = {
    # Scales multiply the gain that each scheme gives a layer by itself.
    "orthogonal": nn.initializers.orthogonal,
    "lecun_uniform": lambda scale: nn.initializers.variance_scaling(scale**2, "fan_in", "uniform"),
}

# Flax computes in float32 when it is told nothing.
DTYPES: Mapping[str, Any] = {"float32": None, "bfloat16": jnp.bfloat16}

Options = TypeVar("Options", bound="LayerOptions")


@dataclasses.dataclass(frozen=True)
class LayerOptions:
    """Options that all kinds of our own have.

    Args:
        hidden: Widths of the hidden layers.
        activation: After each hidden layer: elu, gelu, leaky_relu, relu, selu, swish or tanh.
        kernel_init: orthogonal, or lecun_uniform.
        hidden_scale: Gain of the hidden kernels at the start.
        output_scale: Gain of the output kernel; small ones make the first policy near uniform.
        dtype: What is computed in: float32 or bfloat16. Weights and outputs are float32.
    """

    hidden: tuple[int, ...] = (64, 64)
    activation: str = "tanh"
    kernel_init: str = "orthogonal"
    hidden_scale: float = 2.0**0.5
    output_scale: float = 1.0
    dtype: str = "float32"

    def __post_init__(self) -> None:
        object.__setattr__(self, "hidden", tuple(self.hidden))
        if any(not isinstance(width, int) or width < 1 for width in self.hidden):
            raise UsageError(f"hidden {self.hidden}: whole numbers >= 1 were expected")
        for name, known in (
            ("activation", ACTIVATIONS),
            ("kernel_init", INITIALIZERS),
            ("dtype", DTYPES),
        ):
            value = getattr(self, name)
            if value not in known:
                raise UnknownNameError(name, value, known)

    def to_json(self) -> dict[str, Any]:
        """The options as JSON values. Those of float32 need not say so."""
        options = dataclasses.asdict(self)
        if self.dtype == "float32":
            del options["dtype"]
        return {n: list(v) if isinstance(v, tuple) else v for n, v in options.items()}

    def dense(self, width: int, name: str, scale: float) -> nn.Dense:
        """A layer of `width` outputs."""
        kernel_init = INITIALIZERS[self.kernel_init](scale)
        return nn.Dense(width, kernel_init=kernel_init, dtype=DTYPES[self.dtype], name=name)


def read_options(kind: type[Options], spec: NetworkSpec) -> Options:
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
