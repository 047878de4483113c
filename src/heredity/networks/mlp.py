"""The multi-layer perceptron over flattened observations."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax
import numpy as np

from heredity.common.errors import RefusedError, UnknownNameError, UsageError
from heredity.networks.contract import (
    Carry,
    Network,
    NetworkSpec,
    NumpyFunction,
    Taps,
    register_network,
)
from heredity.networks.observations import feature_size, features, features_in_numpy
from heredity.spaces import Space
from heredity.weights import Params

ACTIVATIONS: Mapping[str, Callable[[jax.Array], jax.Array]] = {
    "elu": nn.elu,
    "gelu": nn.gelu,
    "relu": nn.relu,
    "swish": nn.swish,
    "tanh": nn.tanh,
}

_GELU_SCALE = np.float32((2 / np.pi) ** 0.5)  # of the tanh approximation, which Flax uses

NUMPY_ACTIVATIONS: Mapping[str, Callable[[np.ndarray], np.ndarray]] = {
    "elu": lambda x: np.where(x > 0, x, np.expm1(np.minimum(x, 0))),
    "gelu": lambda x: 0.5 * x * (1 + np.tanh(_GELU_SCALE * (x + 0.044715 * x * x * x))),
    "relu": lambda x: np.maximum(x, 0),
    "swish": lambda x: x * (0.5 + 0.5 * np.tanh(0.5 * x)),
    "tanh": np.tanh,
}

INITIALIZERS: Mapping[str, Callable[[float], Any]] = {
    # Scales multiply the gain that each scheme gives a layer by itself.
    "orthogonal": nn.initializers.orthogonal,
    "lecun_uniform": lambda scale: nn.initializers.variance_scaling(scale**2, "fan_in", "uniform"),
}


@dataclasses.dataclass(frozen=True)
class MlpOptions:
    """Options of the kind ``mlp``.

    Args:
        hidden: Widths of the hidden layers.
        activation: After each hidden layer: elu, gelu, relu, swish or tanh.
        kernel_init: orthogonal, or lecun_uniform.
        hidden_scale: Gain of the hidden kernels at the start.
        output_scale: Gain of the output kernel; small ones make the first policy near uniform.
    """

    hidden: tuple[int, ...] = (64, 64)
    activation: str = "tanh"
    kernel_init: str = "orthogonal"
    hidden_scale: float = 2.0**0.5
    output_scale: float = 1.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "hidden", tuple(self.hidden))
        if any(not isinstance(width, int) or width < 1 for width in self.hidden):
            raise UsageError(f"mlp hidden {self.hidden}: whole numbers >= 1 were expected")
        if self.activation not in ACTIVATIONS:
            raise UnknownNameError("activation", self.activation, ACTIVATIONS)
        if self.kernel_init not in INITIALIZERS:
            raise UnknownNameError("kernel_init", self.kernel_init, INITIALIZERS)

    def spec(self) -> NetworkSpec:
        """These options as a specification."""
        return NetworkSpec("mlp", {**dataclasses.asdict(self), "hidden": list(self.hidden)})


class _Module(nn.Module):
    options: MlpOptions
    output_size: int

    @nn.compact
    def __call__(self, x: jax.Array) -> tuple[jax.Array, Taps]:
        initializer = INITIALIZERS[self.options.kernel_init]
        activation = ACTIVATIONS[self.options.activation]
        taps: Taps = {}
        for index, width in enumerate(self.options.hidden):
            name = f"hidden_{index}"
            kernel_init = initializer(self.options.hidden_scale)
            x = activation(nn.Dense(width, kernel_init=kernel_init, name=name)(x))
            taps[name] = x
        kernel_init = initializer(self.options.output_scale)
        return nn.Dense(self.output_size, kernel_init=kernel_init, name="output")(x), taps


class Mlp(Network):
    """Layers ``hidden_0``, ``hidden_1``, … and ``output``, each a ``kernel`` and a ``bias``.

    Args:
        options: Sizes and functions.
        observation_space: What it reads; boxes are flattened and joined.
        output_size: How many numbers it puts out.
    """

    def __init__(self, options: MlpOptions, observation_space: Space, output_size: int) -> None:
        self.spec = options.spec()
        self._options = options
        self._space = observation_space
        self._input_size = feature_size(observation_space)
        self._module = _Module(options, output_size)

    def init(self, key: jax.Array) -> Params:
        example = jax.numpy.zeros((1, self._input_size), jax.numpy.float32)
        variables: Any = self._module.init(key, example)
        return variables["params"]

    def apply(
        self,
        params: Params,
        observation: Any,
        carry: Carry = (),
        *,
        is_first: jax.Array | None = None,
        key: jax.Array | None = None,
        taps: Sequence[str] = (),
    ) -> tuple[jax.Array, Carry, Taps]:
        del is_first, key
        seen = features(self._space, observation)
        applied: Any = self._module.apply({"params": params}, seen)
        output, tapped = applied
        for name in taps:
            if name not in tapped:
                raise UnknownNameError("tap", name, tapped)
        return output, carry, {name: tapped[name] for name in taps}

    def in_numpy(self, params: Params) -> NumpyFunction | None:
        seen_by = features_in_numpy(self._space)
        activation = NUMPY_ACTIVATIONS[self._options.activation]
        names = [f"hidden_{index}" for index in range(len(self._options.hidden))]
        hidden = [(params[name]["kernel"], params[name]["bias"]) for name in names]
        kernel, bias = params["output"]["kernel"], params["output"]["bias"]

        def function(seen: Any) -> np.ndarray | None:
            x = seen_by(seen)
            # Beyond 1e19 sums may overflow, and their order decides what comes of it.
            if not math.isfinite(x.dot(x)):
                return None
            for hidden_kernel, hidden_bias in hidden:
                x = x.dot(hidden_kernel)
                x += hidden_bias
                x = activation(x)
            x = x.dot(kernel)
            x += bias
            return x

        return function

    def axes(self) -> Mapping[str, tuple[str, ...]]:
        names = ["observation", *(f"hidden_{i}" for i in range(len(self._options.hidden)))]
        names.append("output")
        axes: dict[str, tuple[str, ...]] = {}
        for source, target in itertools.pairwise(names):
            axes[f"{target}/kernel"] = (source, target)
            axes[f"{target}/bias"] = (target,)
        return axes


def _build(spec: NetworkSpec, observation_space: Space, output_size: int) -> Mlp:
    known = [field.name for field in dataclasses.fields(MlpOptions)]
    for name in spec.options:
        if name not in known:
            raise UnknownNameError("option of the network kind 'mlp'", name, known)
    try:
        options = MlpOptions(**spec.options)
    except TypeError as error:
        raise RefusedError("network", f"does not describe an mlp ({error})") from None
    return Mlp(options, observation_space, output_size)


register_network("mlp", _build)
