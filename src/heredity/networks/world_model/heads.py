"""What reads the state of a world model: layers with norms, and sums over bins for rewards."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from heredity.common.errors import UsageError
from heredity.networks.axes import Axes, Piece, column_pieces, layer_axes, output_pieces
from heredity.networks.contract import Carry, Network, NetworkSpec, Taps, register_network
from heredity.networks.mlp import chosen_taps
from heredity.networks.observations import feature_size, features
from heredity.networks.world_model.layers import (
    NO_WIDER,
    cast_kernels,
    hidden_axes,
    hidden_layers,
    init_hidden_layers,
    init_linear,
    linear,
    symexp,
    symlog,
)
from heredity.networks.world_model.options import DTYPES, WorldOptions, read_world_options
from heredity.spaces import Space
from heredity.weights import Params

BINS = 255
_HIGHEST = 20.0  # of the bins, on the logarithmic scale: about 4.85e8


def bins() -> jax.Array:
    """The numbers ``(255,)`` that returns and rewards are told apart by: even on a symlog scale.

    Example:
        >>> found = bins()
        >>> float(found[127]), float(found[0]) == -float(found[-1])
        (0.0, True)
    """
    half = symexp(jnp.linspace(-_HIGHEST, 0.0, BINS // 2 + 1, dtype=jnp.float32))
    return jnp.concatenate([half, -half[:-1][::-1]])


def expectation(logits: jax.Array) -> jax.Array:
    """The mean number that logits ``(..., 255)`` stand for, ``(...,)`` float32.

    Bins are summed from both ends at once: equal chances give 0 exactly.

    Example:
        >>> float(expectation(jnp.zeros(255)))
        0.0
    """
    chances = jax.nn.softmax(logits.astype(jnp.float32), axis=-1)
    middle = BINS // 2
    below, above = chances[..., :middle], chances[..., :middle:-1]
    return ((below - above) * bins()[:middle]).sum(axis=-1)


def _beside(target: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The bin below each number, and how far it is from there to the next one: 0 to 1."""
    edges = bins()
    even = (symlog(target) + _HIGHEST) * (BINS // 2 / _HIGHEST)
    near = jnp.clip(jnp.floor(even).astype(jnp.int32), 0, BINS - 2)
    # Rounding may have put it into the bin before or after.
    near = near - (target < edges[near]) + (target >= edges[near + 1])
    near = jnp.clip(near, 0, BINS - 2)
    share = (target - edges[near]) / (edges[near + 1] - edges[near])
    # Else the compiler would look for the bin anew in all places that it is compared with.
    return jax.lax.optimization_barrier((near, jnp.clip(share, 0.0, 1.0)))


def _weights(near: jax.Array, share: jax.Array) -> jax.Array:
    distance = (jnp.arange(BINS) - near[..., None]) - share[..., None]
    return jnp.maximum(0.0, 1.0 - jnp.abs(distance))


def two_hot(target: jax.Array) -> jax.Array:
    """Weights ``(..., 255)`` of the two bins beside each number, by its distance to them."""
    return _weights(*_beside(target))


@jax.custom_vjp
def two_hot_loss(logits: jax.Array, *targets: jax.Array) -> jax.Array:
    """Cross-entropies of logits ``(..., 255)`` with numbers ``(...,)``, summed over the targets.

    Targets have no gradient.
    """
    return _two_hot_forward(logits, *targets)[0]


def _two_hot_forward(logits: jax.Array, *targets: jax.Array) -> tuple[jax.Array, Any]:
    numbers = logits.astype(jnp.float32)
    total = jax.nn.logsumexp(numbers, axis=-1)
    loss = len(targets) * total
    places = [_beside(target) for target in targets]
    for near, share in places:
        two = jnp.take_along_axis(numbers, jnp.stack([near, near + 1], axis=-1), axis=-1)
        loss = loss - (1.0 - share) * two[..., 0] - share * two[..., 1]
    return loss, (logits, total, places)


def _two_hot_backward(known: Any, gradient: jax.Array) -> tuple[jax.Array, ...]:
    logits, total, places = known
    found = len(places) * jnp.exp(logits.astype(jnp.float32) - total[..., None])
    for near, share in places:
        found = found - _weights(near, share)
    found = (gradient[..., None] * found).astype(logits.dtype)
    return found, *(jnp.zeros_like(share) for _, share in places)


two_hot_loss.defvjp(_two_hot_forward, _two_hot_backward)


@dataclasses.dataclass(frozen=True)
class HeadOptions(WorldOptions):
    """Options of the kind ``normed_mlp``.

    Args:
        units: Width of the hidden layers.
        layers: How many of them.
        output_scale: Factor of the output kernel at the start; 0 for outputs that are exactly 0.
        outputs: How many numbers it puts out; 0 for as many as whoever reads them expects.
        dtype: What is computed in: float32 or bfloat16.
    """

    kind = "normed_mlp"
    units: int = 256
    layers: int = 1
    output_scale: float = 1.0
    outputs: int = 0


@dataclasses.dataclass(frozen=True)
class BinsOptions(HeadOptions):
    """Options of the kind ``two_hot``: those of ``normed_mlp``, of which `outputs` stays 0."""

    kind = "two_hot"
    output_scale: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.outputs:
            raise UsageError(f"two_hot outputs {self.outputs}: it puts out one number, give 0")


class Head(Network):
    """``hidden_0``, … with norms and SiLU, and ``output``.

    Args:
        options: Sizes.
        observation_space: What it reads.
        output_size: How many numbers it puts out.
    """

    no_wider = NO_WIDER

    def __init__(self, options: HeadOptions, observation_space: Space, output_size: int) -> None:
        self.spec = options.spec()
        self.options = options
        self.output_size = output_size
        self._space = observation_space
        self._width = output_size  # of the output layer

    @property
    def hidden_layers(self) -> tuple[str, ...]:
        return tuple(f"hidden_{index}" for index in range(self.options.layers))

    def init(self, key: jax.Array) -> Params:
        of_hidden, of_output = jax.random.split(key)
        options, inputs = self.options, feature_size(self._space)
        params = init_hidden_layers(of_hidden, inputs, [options.units] * options.layers)
        last = options.units if options.layers else inputs
        params["output"] = init_linear(of_output, last, self._width, scale=options.output_scale)
        return params

    def cast(self, params: Params) -> Params:
        return cast_kernels(params, DTYPES[self.options.dtype])

    def outputs(self, params: Params, x: jax.Array) -> tuple[jax.Array, Taps]:
        """Of the output layer for ``(..., inputs)``, float32, and what the hidden layers gave."""
        x = x.astype(DTYPES[self.options.dtype])
        tapped = hidden_layers(params, x)
        return linear(params["output"], [x, *tapped.values()][-1]).astype(jnp.float32), tapped

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
        output, tapped = self.outputs(params, features(self._space, observation))
        return output, carry, chosen_taps(tapped, taps)

    def axes(self) -> Axes:
        widths = [self.options.units] * self.options.layers
        axes, name, made = hidden_axes("", "observation", column_pieces(self._space), widths)
        return axes | layer_axes("output", name, made, self._made())

    def _made(self) -> tuple[Piece, ...]:
        """What the output layer makes."""
        return output_pieces(self.output_size)


class Bins(Head):
    """A `Head` that puts out one number, as the `expectation` over `bins`."""

    def __init__(self, options: BinsOptions, observation_space: Space) -> None:
        super().__init__(options, observation_space, 1)
        self._width = BINS

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
        logits, carry, tapped = super().apply(params, observation, carry, taps=taps)
        return expectation(logits)[..., None], carry, tapped

    def _made(self) -> tuple[Piece, ...]:
        return (Piece("bins", BINS, "fixed"),)


def _build_head(spec: NetworkSpec, observation_space: Space, output_size: int | None) -> Head:
    options = read_world_options(HeadOptions, spec)
    expected = options.units if output_size is None else output_size
    return Head(options, observation_space, options.outputs or expected)


def _build_bins(spec: NetworkSpec, observation_space: Space, output_size: int | None) -> Bins:
    del output_size
    return Bins(read_world_options(BinsOptions, spec), observation_space)


register_network("normed_mlp", _build_head)
register_network("two_hot", _build_bins)
