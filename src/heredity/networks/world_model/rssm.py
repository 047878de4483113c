"""The recurrent state-space model: what is seen and done, as a state to imagine from."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from heredity.common.errors import RefusedError, UsageError
from heredity.networks.axes import Axes, Piece, layer_axes
from heredity.networks.contract import (
    Carry,
    Network,
    NetworkSpec,
    Taps,
    build_network,
    register_network,
)
from heredity.networks.products import product
from heredity.networks.world_model import latents
from heredity.networks.world_model.dynamics import Dynamics
from heredity.networks.world_model.layers import (
    NO_WIDER,
    activated,
    cast_kernels,
    hidden_axes,
    hidden_layers,
    init_hidden_layers,
    init_linear,
    linear,
    units,
)
from heredity.networks.world_model.options import DTYPES, WorldOptions, read_world_options
from heredity.networks.world_model.scanning import scan, widened_scan
from heredity.spaces import Space
from heredity.weights import Params


class State(NamedTuple):
    """What the model knows of a moment.

    Args:
        deter: What follows from everything before, ``(..., deter)``.
        stoch: What was drawn, one-hot, ``(..., groups, classes)``.
    """

    deter: jax.Array
    stoch: jax.Array

    @property
    def features(self) -> jax.Array:
        """Both, joined: ``(..., deter + groups * classes)``."""
        return jnp.concatenate([self.deter, _flat(self.stoch).astype(self.deter.dtype)], axis=-1)


@dataclasses.dataclass(frozen=True)
class RssmOptions(WorldOptions):
    """Options of the kind ``rssm``.

    Args:
        actions: How many numbers say what was done.
        deter: Numbers of the state that follow from what was before.
        units: Width of the hidden layers.
        groups: Of choices that are drawn.
        classes: Of each choice.
        blocks: Into so many the recurrent layers are divided; must divide `deter`.
        prior_layers: Hidden layers between `deter` and what is expected.
        posterior_layers: Hidden layers between `deter` with the tokens and what is drawn.
        uniform_mix: Share of equal chances in what is drawn.
        encoder: Specification, as JSON, of the network that makes tokens of what is seen.
    """

    kind = "rssm"
    actions: int = 1
    deter: int = 2048
    units: int = 256
    groups: int = 32
    classes: int = 16
    blocks: int = 8
    prior_layers: int = 2
    posterior_layers: int = 1
    uniform_mix: float = 0.01
    encoder: Mapping[str, Any] = dataclasses.field(
        default_factory=lambda: {"kind": "dreamer_encoder"}
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.encoder, Mapping):
            raise RefusedError("network", f"has encoder {self.encoder!r}: a network was expected")
        if not self.blocks or self.deter % self.blocks:
            raise UsageError(f"rssm blocks {self.blocks} does not divide deter {self.deter}")
        if not self.posterior_layers:
            raise UsageError("rssm posterior_layers 0: at least one was expected")


class Rssm(Network):
    """``encoder/…``, ``dynamics/…``, ``prior/…`` and ``posterior/…`` (Hafner et al. 2023).

    A carry is a dict: ``deter``, ``stoch``, and the ``action`` that was done since.

    Args:
        options: Sizes.
        observation_space: What the encoder reads.
    """

    takes_actions = True
    no_wider = NO_WIDER

    def __init__(self, options: RssmOptions, observation_space: Space) -> None:
        encoder = NetworkSpec.from_json(options.encoder, "network/encoder")
        self.encoder = build_network(encoder, observation_space, None)
        if self.encoder.has_memory:
            raise UsageError("the encoder of an rssm has a memory already: take one without")
        self.options = dataclasses.replace(options, encoder=self.encoder.spec.to_json())
        self.spec = self.options.spec()
        self.latents = (options.groups, options.classes)
        self.output_size = options.deter + options.groups * options.classes
        self._dtype = DTYPES[options.dtype]
        self._dynamics = Dynamics(options.deter, options.units, options.blocks, self._dtype)

    @property
    def hidden_layers(self) -> tuple[str, ...]:
        return tuple(f"encoder/{name}" for name in self.encoder.hidden_layers)

    def init(self, key: jax.Array) -> Params:
        options = self.options
        keys = iter(jax.random.split(key, 6))
        units, drawn = options.units, options.groups * options.classes
        deter = options.deter

        def layers(count: int, inputs: int) -> Params:
            params = init_hidden_layers(next(keys), inputs, [units] * count)
            params["logits"] = init_linear(next(keys), units if count else inputs, drawn)
            return params

        return {
            "encoder": self.encoder.init(next(keys)),
            "dynamics": self._dynamics.init(next(keys), drawn, options.actions),
            "prior": layers(options.prior_layers, deter),
            "posterior": layers(options.posterior_layers, deter + self.encoder.output_size),
        }

    def axes(self) -> Axes:
        options = self.options
        axes: dict[str, Any] = {}
        for path, parts in self.encoder.axes().items():
            axes[f"encoder/{path}"] = tuple(axis.inside("encoder") for axis in parts)
        tokens = tuple(piece.inside("encoder") for piece in self.encoder.output_pieces())
        deter, drawn = self.output_pieces()
        axes |= self._dynamics.axes("dynamics/", deter, drawn, options.actions)
        for part, reads, count in (
            ("prior", (deter,), options.prior_layers),
            ("posterior", (deter, *tokens), options.posterior_layers),
        ):
            layers, name, made = hidden_axes(f"{part}/", "state", reads, [options.units] * count)
            axes |= layers | layer_axes(f"{part}/logits", name, made, (drawn,))
        return axes

    def output_pieces(self) -> tuple[Piece, ...]:
        options = self.options
        groups, classes = self.latents
        deter = units("deter", options.deter // options.blocks, repeats=options.blocks)
        return deter, units("stoch", groups * classes)

    def entry_folders(self) -> Mapping[str, str]:
        encoder = self.encoder.entry_folders()
        return {path: f"encoder/{folder}" for path, folder in encoder.items()}

    def options_for(self, observation_space: Space, actions: int) -> Mapping[str, Any]:
        following = self.encoder.options_for(observation_space, actions)
        encoder = {**self.options.encoder, **following}
        return {"actions": actions, **({"encoder": encoder} if following else {})}

    # --- one moment after the other ---------------------------------------------------------------

    def start(self, batch_shape: tuple[int, ...]) -> State:
        """Before anything was seen."""
        return State(
            jnp.zeros((*batch_shape, self.options.deter), self._dtype),
            jnp.zeros((*batch_shape, *self.latents), self._dtype),
        )

    def tokens(self, params: Params, observation: Any) -> jax.Array:
        """What the encoder makes of observations ``(...,)``: ``(..., N)``."""
        return self.encoder.apply(self._of_encoder(params), observation)[0].astype(self._dtype)

    @staticmethod
    def _of_encoder(params: Params) -> Params:
        # For pictures too small for a convolution it has none, and files hold no empty dict.
        return params.get("encoder", {})

    def _logits(self, params: Params, x: jax.Array) -> jax.Array:
        outputs = [x, *hidden_layers(params, x).values()]
        logits = linear(params["logits"], outputs[-1])
        return logits.reshape((*logits.shape[:-1], *self.latents))

    def prior(self, params: Params, deter: jax.Array) -> jax.Array:
        """Logits ``(..., groups, classes)`` of what is expected before anything is seen."""
        return self._logits(params["prior"], deter)

    def log_probs(self, logits: jax.Array) -> jax.Array:
        """Logarithms of the chances that logits stand for, float32."""
        return jnp.log(latents.mixed_probs(logits, self.options.uniform_mix))

    def observe(
        self,
        params: Params,
        tokens: jax.Array,
        state: State,
        actions: jax.Array,
        is_first: jax.Array,
        chance: jax.Array | None = None,
    ) -> tuple[State, jax.Array]:
        """The states of moments one after the other, from what was seen.

        Args:
            params: Of this network.
            tokens: ``(T, B, N)``.
            state: Before the first moment, ``(B, ...)``.
            actions: Done before each moment, ``(T, B, actions)``.
            is_first: Where episodes begin, ``(T, B)``: what was before is forgotten.
            chance: Of `latents.noise`, ``(T, B, groups)``; None for the most likely.

        Returns:
            States ``(T, B, ...)`` and the logits they were drawn from.
        """
        dynamics, of_dynamics = self._dynamics, params["dynamics"]
        kernels = dynamics.kernels(of_dynamics)
        actions = jnp.where(is_first[..., None], 0.0, actions)
        added = dynamics.of_actions(of_dynamics, kernels, actions)
        posterior = dict(params["posterior"])
        first = posterior["hidden_0"]
        kernel = first["kernel"].astype(self._dtype)
        deter = self.options.deter
        # What does not depend on the state is computed for all moments at once.
        seen = product(tokens, kernel[deter:]) + first["bias"].astype(self._dtype)
        later = {
            f"hidden_{index}": posterior[f"hidden_{index + 1}"]
            for index in range(self.options.posterior_layers - 1)
        }
        later["logits"] = posterior["logits"]

        weights = (of_dynamics, kernels, first["norm"], kernel[:deter], later)
        # Going back, they would be cast at every moment.
        weights = cast_kernels(weights, self._dtype)

        def step(weights: tuple, before: tuple, now: tuple) -> tuple[tuple, tuple]:
            of_dynamics, kernels, norm, kernel, later = weights
            parts, stoch = before
            seen, added, first_now, drawn = now
            parts, stoch = (jnp.where(first_now[..., None], 0, part) for part in (parts, stoch))
            parts = dynamics.following(of_dynamics, kernels, parts, stoch, added)
            deter_now = dynamics.joined(parts)
            logits = self._logits(later, activated(norm, product(deter_now, kernel) + seen))
            stoch = self._chosen(logits, drawn)
            return (parts, _flat(stoch)), (State(deter_now, stoch), logits)

        moments = (seen, added, is_first, chance)
        _, (states, logits) = scan(step, weights, self._inside(state), moments, axes=(1, 0))
        return states, logits

    def observe_once(
        self,
        params: Params,
        tokens: jax.Array,
        state: State,
        action: jax.Array,
        is_first: jax.Array,
        chance: jax.Array | None = None,
    ) -> State:
        """`observe` of a single moment, without an axis of time: faster, as no kernel is split."""
        dynamics = self._dynamics
        action = jnp.where(is_first[..., None], 0.0, action)
        parts, stoch = self._inside(state)
        parts, stoch = (jnp.where(is_first[..., None], 0, part) for part in (parts, stoch))
        parts = dynamics.following_once(params["dynamics"], parts, stoch, action)
        deter = dynamics.joined(parts)
        logits = self._logits(params["posterior"], jnp.concatenate([deter, tokens], axis=-1))
        return State(deter, self._chosen(logits, chance))

    def imagine(
        self,
        params: Params,
        state: State,
        act: Callable[[jax.Array, Any], tuple[Any, jax.Array]],
        chances: Any,
        length: int,
    ) -> tuple[jax.Array, Any]:
        """What would come, moment after moment, without seeing anything.

        Args:
            params: Of this network.
            state: To begin from, ``(N, ...)``.
            act: From features ``(N, F)`` and its chance what is remembered of an action, and the
                numbers that say what was done, ``(N, actions)``.
            chances: Of `act`, and of `latents.noise` ``(length, N, groups)``; either may be None.
            length: How many moments.

        Returns:
            Features ``(length + 1, N, F)``, the first are those of `state`; and what `act` wanted
            to be remembered in the first ``length`` moments.
        """
        dynamics, of_dynamics = self._dynamics, params["dynamics"]
        kernels = dynamics.kernels(of_dynamics)

        def step(before: tuple, now: tuple) -> tuple[tuple, tuple[jax.Array, Any]]:
            parts, stoch = before
            of_act, drawn = now
            features = jnp.concatenate([dynamics.joined(parts), stoch], axis=-1)
            remembered, action = act(features, of_act)
            added = dynamics.of_actions(of_dynamics, kernels, action)
            parts = dynamics.following(of_dynamics, kernels, parts, stoch, added)
            stoch = self._chosen(self.prior(params, dynamics.joined(parts)), drawn)
            return (parts, _flat(stoch)), (features, remembered)

        (parts, stoch), (features, remembered) = widened_scan(
            step, self._inside(state), chances, length
        )
        last = jnp.concatenate([dynamics.joined(parts), stoch], axis=-1)
        return jnp.concatenate([features, last[None]]), remembered

    def _chosen(self, logits: jax.Array, chance: jax.Array | None) -> jax.Array:
        """The drawn part that logits and a chance of `latents.noise` give."""
        probs = latents.mixed_probs(logits, self.options.uniform_mix)
        return latents.choose(probs, chance).astype(self._dtype)

    def _inside(self, state: State) -> tuple[jax.Array, jax.Array]:
        """What goes from moment to moment: the deterministic part in blocks, the drawn one flat."""
        deter, stoch = (part.astype(self._dtype) for part in state)
        return self._dynamics.apart(deter), _flat(stoch)

    # --- as a part of a policy --------------------------------------------------------------------

    def initial_carry(self, batch_shape: tuple[int, ...]) -> Carry:
        state = self.start(batch_shape)
        action = jnp.zeros((*batch_shape, self.options.actions), jnp.float32)
        return {
            "deter": state.deter.astype(jnp.float32),
            "stoch": state.stoch.astype(jnp.float32),
            "action": action,
        }

    def acted(self, carry: Carry, action: jax.Array) -> Carry:
        return {**carry, "action": action.astype(jnp.float32)}

    def cast(self, params: Params) -> Params:
        own = {name: part for name, part in params.items() if name != "encoder"}
        encoder = {"encoder": self.encoder.cast(params["encoder"])} if "encoder" in params else {}
        return {**cast_kernels(own, self._dtype), **encoder}

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
        wanted = [name.removeprefix("encoder/") for name in taps]
        tokens, _, tapped = self.encoder.apply(self._of_encoder(params), observation, taps=wanted)
        tokens = tokens.astype(self._dtype)
        batch = tokens.shape[:-1]
        if is_first is None:
            is_first = jnp.zeros(batch, bool)
        chance = None if key is None else latents.noise(key, (*batch, self.options.groups))
        before = State(carry["deter"], carry["stoch"])
        found = self.observe_once(params, tokens, before, carry["action"], is_first, chance)
        state = State(*(part.astype(jnp.float32) for part in found))
        following = {"deter": state.deter, "stoch": state.stoch, "action": carry["action"]}
        return (
            state.features,
            following,
            {f"encoder/{name}": value for name, value in tapped.items()},
        )


def _flat(stoch: jax.Array) -> jax.Array:
    return stoch.reshape((*stoch.shape[:-2], -1))


def _build(spec: NetworkSpec, observation_space: Space, output_size: int | None) -> Rssm:
    if output_size is not None:
        raise UsageError("an rssm ends in features: it is a trunk, read by an actor")
    return Rssm(read_world_options(RssmOptions, spec), observation_space)


register_network("rssm", _build)
