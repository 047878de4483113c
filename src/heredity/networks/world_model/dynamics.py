"""How the deterministic part of a world model's state moves on: a GRU in blocks.

Inside, the blocks are the first axis, ``(blocks, ..., deter / blocks)``: products by block are then
products of matrices as they lie in memory, and what follows them is computed number after number.
With blocks in the middle a processor spends much of its time reading across (docs/architecture.md).
"""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp

from heredity.networks.axes import Axis, Piece
from heredity.networks.products import block_products, product
from heredity.networks.world_model.layers import (
    EPSILON,
    block_axes,
    hidden,
    init_linear,
    normed_axes,
    units,
)
from heredity.weights import Params


class Kernels(NamedTuple):
    """The kernel of ``mix``, apart.

    Args:
        own: Of each block's own part of the state, ``(blocks, D / blocks, D / blocks)``.
        read: Of what all blocks read of the state, ``(2 * units, D)``.
        done: Of what all blocks read of actions, ``(units, D)``.
    """

    own: jax.Array
    read: jax.Array
    done: jax.Array


class Dynamics:
    """``from_deter``, ``from_stoch``, ``from_action``, ``mix`` and ``gates``.

    Source: Hafner et al. 2023, as the authors' code has been since 2024.

    Args:
        deter: Numbers of the deterministic part.
        units: Width of the hidden layers.
        blocks: Into so many the recurrent layers are divided.
        dtype: What is computed in.
    """

    def __init__(self, deter: int, units: int, blocks: int, dtype: jnp.dtype) -> None:
        self.deter = deter
        self.units = units
        self.blocks = blocks
        self._dtype = dtype

    def init(self, key: jax.Array, drawn: int, actions: int) -> Params:
        """Weights.

        Args:
            key: Decides them.
            drawn: Numbers of the drawn part of the state.
            actions: Numbers that say what was done.
        """
        keys = iter(jax.random.split(key, 5))
        deter, units, blocks = self.deter, self.units, self.blocks
        mixed = deter + 3 * units * blocks
        return {
            "from_deter": init_linear(next(keys), deter, units, normed=True),
            "from_stoch": init_linear(next(keys), drawn, units, normed=True),
            "from_action": init_linear(next(keys), actions, units, normed=True),
            "mix": init_linear(next(keys), mixed, deter, blocks=blocks, normed=True),
            "gates": init_linear(next(keys), deter, 3 * deter, blocks=blocks),
        }

    def axes(
        self, folder: str, deter: Piece, drawn: Piece, actions: int
    ) -> dict[str, tuple[Axis, ...]]:
        """What the axes of its weights are made of.

        Args:
            folder: Of the weights, such as ``dynamics/``.
            deter: The deterministic part of the state; all blocks.
            drawn: The drawn part.
            actions: Numbers that say what was done.
        """
        read = {
            "from_deter": deter,
            "from_stoch": drawn,
            "from_action": Piece("action", actions, "actions"),
        }
        axes: dict[str, tuple[Axis, ...]] = {}
        mixed = [dataclasses.replace(deter, repeats=1)]  # each block's own part
        for name, piece in read.items():
            mixed.append(units(f"{folder}{name}", self.units))
            axes |= normed_axes(f"{folder}{name}", piece.of, (piece,), mixed[-1])
        mix = units(f"{folder}mix", deter.size)
        axes |= block_axes(mix.of, "state", tuple(mixed), mix, self.blocks)
        axes[f"{mix.of}/norm"] = axes[f"{mix.of}/bias"]
        gates = units(f"{folder}gates", deter.size, repeats=3)  # reset, candidate, update
        return axes | block_axes(gates.of, mix.of, (mix,), gates, self.blocks)

    def apart(self, numbers: jax.Array) -> jax.Array:
        """``(..., N)`` as blocks, ``(blocks, ..., N / blocks)``."""
        parts = numbers.reshape((*numbers.shape[:-1], self.blocks, -1))
        return jnp.moveaxis(parts, -2, 0)

    def joined(self, parts: jax.Array) -> jax.Array:
        """The inverse of `apart`."""
        numbers = jnp.moveaxis(parts, 0, -2)
        return numbers.reshape((*numbers.shape[:-2], -1))

    def kernels(self, params: Params) -> Kernels:
        """The kernel of ``mix``, in the parts that are computed at different times.

        All blocks read the same of what was drawn and done, so that part is one whole product.
        """
        own = self.deter // self.blocks
        kernel = self._by_block(params["mix"]["kernel"])
        shared = jnp.swapaxes(kernel[:, own:], 0, 1)
        shared = shared.reshape((shared.shape[0], -1))
        of_state = 2 * self.units
        return Kernels(kernel[:, :own], shared[:of_state], shared[of_state:])

    def of_actions(self, params: Params, kernels: Kernels, actions: jax.Array) -> jax.Array:
        """What actions add to the mix."""
        return product(self._done(params, actions), kernels.done)

    def following(
        self,
        params: Params,
        kernels: Kernels,
        parts: jax.Array,
        stoch: jax.Array,
        of_action: jax.Array,
    ) -> jax.Array:
        """The deterministic part a moment later.

        Args:
            params: Weights.
            kernels: Of `kernels`.
            parts: The deterministic part, in blocks.
            stoch: The drawn part, ``(..., drawn)``.
            of_action: Of `of_actions`, ``(..., deter)``.

        Returns:
            In blocks.
        """
        read = self._read(params, parts, stoch)
        shared = product(read, kernels.read) + of_action + params["mix"]["bias"].astype(self._dtype)
        return self._moved(params, block_products(parts, kernels.own) + self.apart(shared), parts)

    def following_once(
        self, params: Params, parts: jax.Array, stoch: jax.Array, actions: jax.Array
    ) -> jax.Array:
        """`following` for a single moment, by the whole kernel: to take it apart would copy it."""
        read = [self._read(params, parts, stoch), self._done(params, actions)]
        shared = jnp.concatenate(read, axis=-1)
        of_all = jnp.broadcast_to(shared, (self.blocks, *shared.shape))
        kernel = self._by_block(params["mix"]["kernel"])
        mix = block_products(jnp.concatenate([parts, of_all], axis=-1), kernel)
        return self._moved(params, mix + self._beside(params["mix"]["bias"], parts.ndim), parts)

    def _done(self, params: Params, actions: jax.Array) -> jax.Array:
        """What all blocks read of actions, bounded to [-1, 1] without changing their gradients."""
        bounded = actions / jax.lax.stop_gradient(jnp.maximum(1.0, jnp.abs(actions)))
        return hidden(params["from_action"], bounded.astype(self._dtype))

    def _read(self, params: Params, parts: jax.Array, stoch: jax.Array) -> jax.Array:
        """What all blocks read of the state."""
        of_deter = hidden(params["from_deter"], self.joined(parts))
        return jnp.concatenate([of_deter, hidden(params["from_stoch"], stoch)], axis=-1)

    def _moved(self, params: Params, mix: jax.Array, parts: jax.Array) -> jax.Array:
        """The deterministic part a moment later, from the products of ``mix``."""
        mix = jax.nn.silu(self._normed(params["mix"]["norm"], mix))
        bias = self._beside(params["gates"]["bias"], parts.ndim)
        gates = block_products(mix, self._by_block(params["gates"]["kernel"])) + bias
        reset, candidate, update = jnp.split(gates, 3, axis=-1)
        candidate = jnp.tanh(jax.nn.sigmoid(reset) * candidate)
        update = jax.nn.sigmoid(update - 1.0)
        return update * candidate + (1.0 - update) * parts

    def _by_block(self, kernel: jax.Array) -> jax.Array:
        """A kernel with an axis of blocks, which that of one block has not."""
        inputs, outputs = kernel.shape[-2:]
        return kernel.astype(self._dtype).reshape((self.blocks, inputs, outputs))

    def _beside(self, numbers: jax.Array, ndim: int) -> jax.Array:
        """``(N,)`` in a shape that goes with blocks of so many axes."""
        shape = (self.blocks, *[1] * (ndim - 2), -1)
        return numbers.astype(self._dtype).reshape(shape)

    def _normed(self, scale: jax.Array, parts: jax.Array) -> jax.Array:
        """`layers.rms_norm` of numbers in blocks."""
        y = parts.astype(jnp.float32)
        mean_square = jnp.square(y).mean(axis=(0, -1), keepdims=True)
        factor = jax.lax.rsqrt(mean_square + EPSILON)
        return (y * (factor * self._beside(scale, parts.ndim))).astype(parts.dtype)
