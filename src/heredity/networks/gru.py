"""A gated recurrent unit between an encoder and the outputs: memory for what is not seen now."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from heredity.common.errors import RefusedError, UsageError
from heredity.networks.axes import Axes, Piece, layer_axes, output_pieces
from heredity.networks.contract import (
    Carry,
    Network,
    NetworkSpec,
    Taps,
    build_network,
    register_network,
)
from heredity.networks.layers import DTYPES, INITIALIZERS, LayerOptions, read_options
from heredity.networks.mlp import HiddenLayers, chosen_taps, hidden_axes
from heredity.spaces import Space
from heredity.weights import Params


@dataclasses.dataclass(frozen=True)
class GruOptions(LayerOptions):
    """Options of the kind ``gru``.

    Args:
        hidden: Widths of the layers after the memory; the ones before it are the encoder's.
        size: How many numbers are remembered.
        encoder: Specification, as JSON, of the network before the memory.
    """

    hidden: tuple[int, ...] = ()
    size: int = 128
    encoder: Mapping[str, Any] = dataclasses.field(default_factory=lambda: {"kind": "mlp"})

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.size, int) or isinstance(self.size, bool) or self.size < 1:
            raise UsageError(f"gru size {self.size!r}: a whole number >= 1 was expected")
        if not isinstance(self.encoder, Mapping):
            raise RefusedError("network", f"has encoder {self.encoder!r}: a network was expected")

    def spec(self) -> NetworkSpec:
        """These options as a specification."""
        return NetworkSpec("gru", self.to_json())


class _Inputs(nn.Module):
    """What the gates take from the encoder, ``(..., 3 size)``: reset, update, candidate."""

    options: GruOptions

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        return self.options.dense(3 * self.options.size, "input", 1.0)(x).astype(jnp.float32)


class _Step(nn.Module):
    """One moment of the memory (Cho et al. 2014; the reset gate after the product, as in cuDNN)."""

    options: GruOptions

    @nn.compact
    def __call__(self, memory: jax.Array, inputs: jax.Array) -> jax.Array:
        size = self.options.size
        orthogonal = INITIALIZERS["orthogonal"](1.0)

        def three(key: jax.Array, shape: tuple[int, ...], dtype: Any = jnp.float32) -> jax.Array:
            # Each gate's block is orthogonal by itself.
            keys = jax.random.split(key, 3)
            return jnp.concatenate([orthogonal(k, (size, size), dtype) for k in keys], axis=-1)

        recurrent = nn.Dense(
            3 * size, kernel_init=three, dtype=DTYPES[self.options.dtype], name="recurrent"
        )(memory).astype(jnp.float32)
        reset_in, update_in, candidate_in = jnp.split(inputs, 3, axis=-1)
        reset_back, update_back, candidate_back = jnp.split(recurrent, 3, axis=-1)
        reset = nn.sigmoid(reset_in + reset_back)
        update = nn.sigmoid(update_in + update_back)
        candidate = jnp.tanh(candidate_in + reset * candidate_back)
        return (1.0 - update) * candidate + update * memory


class Gru(Network):
    """``encoder/…``, then ``gate/input`` and ``gate/recurrent``, then ``joined/…``.

    The memory is float32, shape ``(..., size)``, zero where an episode begins.

    Args:
        options: Sizes, and the encoder.
        observation_space: What the encoder reads.
        output_size: How many numbers it puts out; None for as many as it remembers, or as its last
            hidden layer has.
    """

    def __init__(
        self, options: GruOptions, observation_space: Space, output_size: int | None
    ) -> None:
        encoder = NetworkSpec.from_json(options.encoder, "network/encoder")
        self._encoder = build_network(encoder, observation_space, None)
        if self._encoder.has_memory:
            raise UsageError("the encoder of a gru has a memory already: mlp or cnn was expected")
        options = dataclasses.replace(options, encoder=self._encoder.spec.to_json())
        self.spec = options.spec()
        self._options = options
        self._inputs = _Inputs(options)
        self._step = _Step(options)
        self._outputs = HiddenLayers(options, output_size)
        self._output_pieces = None if output_size is None else output_pieces(output_size)
        widths = [options.size, *options.hidden]
        self.output_size = widths[-1] if output_size is None else output_size

    @property
    def hidden_layers(self) -> tuple[str, ...]:
        encoded = (f"encoder/{name}" for name in self._encoder.hidden_layers)
        return (*encoded, "memory", *(f"hidden_{i}" for i in range(len(self._options.hidden))))

    def init(self, key: jax.Array) -> Params:
        keys = jax.random.split(key, 4)
        seen = jnp.zeros((1, self._encoder.output_size), jnp.float32)
        memory = jnp.zeros((1, self._options.size), jnp.float32)
        gates = jnp.zeros((1, 3 * self._options.size), jnp.float32)

        def weights(module: nn.Module, key: jax.Array, *examples: jax.Array) -> Params:
            variables: Any = module.init(key, *examples)
            return variables.get("params", {})

        gate = {
            **weights(self._inputs, keys[1], seen),
            **weights(self._step, keys[2], memory, gates),
        }
        params = {
            "encoder": self._encoder.init(keys[0]),
            "gate": gate,
            "joined": weights(self._outputs, keys[3], memory),
        }
        return {name: part for name, part in params.items() if part}

    def initial_carry(self, batch_shape: tuple[int, ...]) -> Carry:
        return jnp.zeros((*batch_shape, self._options.size), jnp.float32)

    def _gates(self, params: Params, observation: Any, taps: Sequence[str]) -> tuple[Any, Taps]:
        wanted = [name.removeprefix("encoder/") for name in taps if name.startswith("encoder/")]
        seen, _, tapped = self._encoder.apply(params.get("encoder", {}), observation, taps=wanted)
        gates: Any = self._inputs.apply({"params": {"input": params["gate"]["input"]}}, seen)
        return gates, {f"encoder/{name}": value for name, value in tapped.items()}

    def _next(
        self, params: Params, memory: jax.Array, gates: jax.Array, is_first: jax.Array | None
    ) -> jax.Array:
        if is_first is not None:
            memory = jnp.where(is_first[..., None], 0.0, memory)
        weights = {"params": {"recurrent": params["gate"]["recurrent"]}}
        following: Any = self._step.apply(weights, memory, gates)
        return following

    def _output(self, params: Params, memory: jax.Array) -> tuple[jax.Array, Taps]:
        applied: Any = self._outputs.apply({"params": params.get("joined", {})}, memory)
        return applied

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
        del key
        gates, encoded = self._gates(params, observation, taps)
        memory = self._next(params, carry, gates, is_first)
        output, tapped = self._output(params, memory)
        return output, memory, chosen_taps({**encoded, "memory": memory, **tapped}, taps)

    def scan(
        self,
        params: Params,
        observation: Any,
        carry: Carry = (),
        *,
        is_first: jax.Array | None = None,
        key: jax.Array | None = None,
    ) -> tuple[jax.Array, Carry]:
        del key
        # The encoder sees all moments at once; only the memory goes from one to the next.
        gates, _ = self._gates(params, observation, ())
        if is_first is None:
            is_first = jnp.zeros(gates.shape[:-1], bool)

        def step(memory: jax.Array, now: tuple[jax.Array, jax.Array]) -> tuple:
            memory = self._next(params, memory, *now)
            return memory, memory

        memory, memories = jax.lax.scan(step, carry, (gates, is_first))
        return self._output(params, memories)[0], memory

    def axes(self) -> Axes:
        axes: dict[str, Any] = {}
        for path, parts in self._encoder.axes().items():
            axes[f"encoder/{path}"] = tuple(axis.inside("encoder") for axis in parts)
        encoded = tuple(piece.inside("encoder") for piece in self._encoder.output_pieces())
        memory = Piece("memory", self._options.size)
        gates = dataclasses.replace(memory, repeats=3)  # reset, update, candidate
        axes |= layer_axes("gate/input", "encoded", encoded, (gates,))
        axes |= layer_axes("gate/recurrent", "memory", (memory,), (gates,))
        return axes | self._joined()[0]

    def output_pieces(self) -> tuple[Piece, ...]:
        return self._joined()[1]

    def entry_folders(self) -> Mapping[str, str]:
        encoder = self._encoder.entry_folders()
        return {path: f"encoder/{folder}" for path, folder in encoder.items()}

    def _joined(self) -> tuple[dict[str, Any], tuple[Piece, ...]]:
        memory = (Piece("memory", self._options.size),)
        return hidden_axes("joined/", self._options, "memory", memory, self._output_pieces)


def _build(spec: NetworkSpec, observation_space: Space, output_size: int | None) -> Gru:
    return Gru(read_options(GruOptions, spec), observation_space, output_size)


register_network("gru", _build)
