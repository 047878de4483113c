"""The pure functions of a policy: from weights and observations to distributions and values."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from typing import Any, NamedTuple

import jax

from heredity.common.errors import UsageError
from heredity.common.streams import stream
from heredity.networks import EncodingNetwork, Network, build_distribution, build_network
from heredity.networks.contract import Carry, NumpyFunction
from heredity.networks.normalizer import (
    init_observation_statistics,
    init_statistics,
    normalize_observation,
    normalizer_in_numpy,
)
from heredity.policies.specification import PolicySpec
from heredity.spaces import Box, Space
from heredity.weights import Params


class Encoded(NamedTuple):
    """What encoders made of observations, in place of these.

    Args:
        features: Of each network that reads observations, ``(..., F)``, by the network's name.
    """

    features: dict[str, jax.Array]


class ActorCritic:
    """Functions over the weights of one `PolicySpec`; holds no weights.

    The weights are ``actor/…`` (with ``actor/log_std`` for the normal family), ``critic/…``,
    ``trunk/…`` where both share one, those of the heads by their names, and
    ``normalizer/observation/…``. A carry is a dict with the memory of each of these networks that
    has one.

    Args:
        spec: What to build.
    """

    def __init__(self, spec: PolicySpec) -> None:
        self.spec = spec
        self.family = build_distribution(spec.distribution, spec.action_space)
        self.trunk = None
        read: Space = spec.observation_space
        if spec.trunk is not None:
            self.trunk = build_network(spec.trunk, read, None)
            read = Box((self.trunk.output_size,))
        self.actor = build_network(spec.actor, read, self.family.output_size)
        self.critic = None if spec.critic is None else build_network(spec.critic, read, 1)
        self.heads = {name: build_network(head, read, 1) for name, head in spec.heads.items()}

    @property
    def networks(self) -> dict[str, Network]:
        """The networks that there are: trunk, actor, critic, and the heads by their names."""
        parts = {"trunk": self.trunk, "actor": self.actor, "critic": self.critic, **self.heads}
        return {name: network for name, network in parts.items() if network is not None}

    def acted(self, carry: Carry, raw_action: jax.Array) -> Carry:
        """The memory, once raw actions ``(...,)`` were chosen; some networks remember them."""
        taking = [name for name in carry if self.networks[name].takes_actions]
        if not taking:
            return carry
        action = self.family.features(raw_action)
        return {
            **carry,
            **{name: self.networks[name].acted(carry[name], action) for name in taking},
        }

    @property
    def has_memory(self) -> bool:
        """Whether acting, or judging what is seen, depends on moments before."""
        return any(network.has_memory for network in self.networks.values())

    def init(self, seed: jax.Array | int) -> Params:
        """Fresh weights, statistics among them."""
        drawn = self.init_networks(seed, self.networks)
        beside = self.init_beside()
        return {**drawn, **beside, "actor": {**drawn["actor"], **beside["actor"]}}

    def init_networks(self, seed: jax.Array | int, names: Iterable[str]) -> Params:
        """Those of the fresh weights that are drawn for some of the networks."""
        return {name: self.networks[name].init(stream(seed, f"init/{name}")) for name in names}

    def init_beside(self) -> Params:
        """Those of the fresh weights that nothing is drawn for: free parameters, statistics."""
        statistics: Params = {}
        if self.spec.normalize_observations:
            statistics |= init_observation_statistics(self.spec.observation_space)
        if self.spec.normalize_rewards:
            statistics["reward"] = init_statistics(())
        free = {"actor": self.family.init()}
        return {**free, "normalizer": statistics} if statistics else free

    def shapes(self) -> Params:
        """Shapes and dtypes of all weights, as `jax.ShapeDtypeStruct`."""
        return jax.eval_shape(self.init, 0)

    def initial_carry(self, batch_shape: tuple[int, ...], *, acting: bool = False) -> Carry:
        """The memory at the start of an episode; {} where no network has one.

        Args:
            batch_shape: Of what is seen.
            acting: Whether to leave out what acting alone does not need, the critic's.
        """
        return {
            name: network.initial_carry(batch_shape)
            for name, network in self.networks.items()
            if network.has_memory and not (acting and name == "critic")
        }

    def preprocess(self, params: Params, observation: Any, space: Space | None = None) -> Any:
        """The observation as the networks see it; ``(...,)`` batch axes stay.

        Args:
            params: All weights.
            observation: Of the policy's space.
            space: The entries of it that are there; default: all.
        """
        if not self.spec.normalize_observations:
            return observation
        return normalize_observation(
            self.spec.observation_space if space is None else space,
            params.get("normalizer", {}),  # absent where nothing of a space can be normalised
            observation,
            self.spec.observation_clip,
            self.spec.observation_epsilon,
        )

    @functools.cached_property
    def encoding(self) -> dict[str, EncodingNetwork]:
        """The networks that read observations, if all of them have an encoder; else {}.

        {} too where one has a memory.
        """
        reading = self.networks if self.trunk is None else {"trunk": self.trunk}
        found = {n: one for n, one in reading.items() if isinstance(one, EncodingNetwork)}
        return {} if self.has_memory or len(found) < len(reading) else found

    @property
    def encoders(self) -> tuple[str, ...]:
        """The folders of weights that `encode` needs; () where it cannot be called."""
        return tuple(f"{n}/{folder}" for n, one in self.encoding.items() for folder in one.encoders)

    def encode(self, params: Params, seen: Any) -> Encoded:
        """What `encoding` networks make of what `preprocess` gave; given to others instead of it.

        Args:
            params: All weights; those of the encoders are needed.
            seen: What `preprocess` gave, ``(...,)``.
        """
        return Encoded({n: one.features(params[n], seen) for n, one in self.encoding.items()})

    # --- one moment -------------------------------------------------------------------------------

    def _apply(
        self, name: str, params: Params, seen: Any, carry: Carry, is_first: Any, key: Any = None
    ) -> tuple[Any, Carry]:
        """One network, and the carry with its new memory."""
        weights = params.get(name, {})
        if isinstance(seen, Encoded):
            return self.encoding[name].from_features(weights, seen.features[name]), carry
        memory = _of(carry, name)
        found, memory, _ = self.networks[name].apply(
            weights, seen, memory, is_first=is_first, key=key
        )
        return found, {**carry, name: memory} if name in carry else carry

    def _read(
        self, params: Params, seen: Any, carry: Carry, is_first: Any, key: Any = None
    ) -> tuple[Any, Carry]:
        if self.trunk is None:
            return seen, carry
        return self._apply("trunk", params, seen, carry, is_first, key)

    def acting(self, params: Params) -> Params:
        """The weights that decide actions, cast where their network says so (`Network.cast`)."""
        return {
            name: self.networks[name].cast(part) if name in self.networks else part
            for name, part in params.items()
            if name in ("trunk", "actor", "normalizer")
        }

    def parameters(
        self,
        params: Params,
        seen: Any,
        carry: Carry = (),
        *,
        is_first: jax.Array | None = None,
        key: jax.Array | None = None,
    ) -> tuple[jax.Array, Carry]:
        """Parameters of the distribution over actions, ``(..., P)``, and the new carry.

        See `outputs` for the arguments.
        """
        outputs, carry = self.outputs(params, seen, carry, is_first=is_first, key=key)
        return self.family.parameters(params["actor"], outputs), carry

    def outputs(
        self,
        params: Params,
        seen: Any,
        carry: Carry = (),
        *,
        is_first: jax.Array | None = None,
        key: jax.Array | None = None,
    ) -> tuple[jax.Array, Carry]:
        """What the actor puts out, ``(..., O)``, and the new carry.

        Args:
            params: All weights.
            seen: What `preprocess` gave.
            carry: Memory. A critic's, if it is there, takes in what is seen as well.
            is_first: Where episodes begin, ``(...,)``.
            key: For networks that draw.
        """
        read, carry = self._read(params, seen, carry, is_first, key)
        outputs, carry = self._apply("actor", params, read, carry, is_first, key)
        if "critic" in carry:
            _, carry = self._apply("critic", params, read, carry, is_first)
        return outputs, carry

    def hidden_outputs(
        self, params: Params, observation: Any, carry: Carry = (), is_first: Any = None
    ) -> dict[str, jax.Array]:
        """What the hidden layers that acting goes through put out, ``(..., units)``, by path.

        Args:
            params: All weights.
            observation: Of the space that is acted on.
            carry: Memory from the moment before.
            is_first: Where episodes begin, ``(...,)``.
        """
        read = self.preprocess(params, observation, self.spec.acting_space)
        found: dict[str, jax.Array] = {}
        for name in ("trunk", "actor"):
            network = self.networks.get(name)
            if network is None:
                continue
            read, _, tapped = network.apply(
                params.get(name, {}),
                read,
                _of(carry, name),
                is_first=is_first,
                taps=network.hidden_layers,
            )
            found |= {f"{name}/{layer}": output for layer, output in tapped.items()}
        return found

    def value(
        self,
        params: Params,
        seen: Any,
        carry: Carry = (),
        *,
        is_first: jax.Array | None = None,
    ) -> jax.Array:
        """Estimated discounted return, ``(...,)``, of what `preprocess` gave.

        Args:
            params: All weights.
            seen: What `preprocess` gave.
            carry: Memory from the moment before.
            is_first: Where episodes begin, ``(...,)``.

        Raises:
            UsageError: for a policy without a critic.
        """
        self._check_critic()
        read, carry = self._read(params, seen, carry, is_first)
        return self._apply("critic", params, read, carry, is_first)[0][..., 0]

    # --- many moments -----------------------------------------------------------------------------

    def unroll(
        self, params: Params, seen: Any, carry: Carry, is_first: jax.Array | None
    ) -> tuple[jax.Array, jax.Array]:
        """Parameters and values of whole sequences.

        Without memory any leading axes will do.

        Args:
            params: All weights.
            seen: What `preprocess` gave, ``(T, B, ...)``.
            carry: Memory before the first moment, with leading axis ``(B,)``.
            is_first: Where episodes begin, ``(T, B)``.

        Returns:
            Parameters ``(T, B, P)`` and values ``(T, B)``.

        Raises:
            UsageError: for a policy without a critic.
        """
        self._check_critic()
        read, carry = self._read_over_time(params, seen, carry, is_first)
        parameters, carry = self._parameters_over_time(params, read, carry, is_first)
        values, _ = self._values_over_time(params, read, carry, is_first)
        return parameters, values

    def unroll_parameters(
        self, params: Params, seen: Any, carry: Carry, is_first: jax.Array | None
    ) -> tuple[jax.Array, Carry]:
        """The parameters that `unroll` gives, and the memory after the last moment.

        The memory of the critic stays as it was.
        """
        read, carry = self._read_over_time(params, seen, carry, is_first)
        return self._parameters_over_time(params, read, carry, is_first)

    def unroll_values(
        self, params: Params, seen: Any, carry: Carry, is_first: jax.Array | None
    ) -> tuple[jax.Array, Carry]:
        """The values that `unroll` gives, and the memory after the last moment.

        The memory of the actor stays as it was.

        Raises:
            UsageError: for a policy without a critic.
        """
        self._check_critic()
        read, carry = self._read_over_time(params, seen, carry, is_first)
        return self._values_over_time(params, read, carry, is_first)

    def _read_over_time(
        self, params: Params, seen: Any, carry: Carry, is_first: jax.Array | None
    ) -> tuple[Any, Carry]:
        """What actor and critic read: what is seen, or what the trunk makes of it."""
        if self.trunk is None:
            return seen, carry
        return self._over_time("trunk", params, seen, carry, is_first)

    def _parameters_over_time(
        self, params: Params, read: Any, carry: Carry, is_first: jax.Array | None
    ) -> tuple[jax.Array, Carry]:
        outputs, carry = self._over_time("actor", params, read, carry, is_first)
        return self.family.parameters(params["actor"], outputs), carry

    def _values_over_time(
        self, params: Params, read: Any, carry: Carry, is_first: jax.Array | None
    ) -> tuple[jax.Array, Carry]:
        values, carry = self._over_time("critic", params, read, carry, is_first)
        return values[..., 0], carry

    def _over_time(
        self, name: str, params: Params, read: Any, carry: Carry, is_first: jax.Array | None
    ) -> tuple[jax.Array, Carry]:
        """One network over ``(T, B, ...)``, and the carry with its new memory."""
        weights = params.get(name, {})
        if isinstance(read, Encoded):
            return self.encoding[name].from_features(weights, read.features[name]), carry
        memory = _of(carry, name)
        found, memory = self.networks[name].scan(weights, read, memory, is_first=is_first)
        return found, {**carry, name: memory} if name in carry else carry

    def _check_critic(self) -> None:
        if self.critic is None:
            raise UsageError("this policy has no critic: its specification says so")

    # --- numpy ------------------------------------------------------------------------------------

    def outputs_in_numpy(self, params: Params, *, batched: bool = False) -> NumpyFunction | None:
        """From observations to the actor's outputs, in numpy; None where it is not written.

        The function gives None where sums could overflow: there the compiled one decides.

        Args:
            params: All weights, as numpy arrays.
            batched: Whether observations come with a leading axis (B,).
        """
        steps: list[Any] = []
        if self.spec.normalize_observations:
            statistics, clip = params.get("normalizer", {}), self.spec.observation_clip
            space, epsilon = self.spec.acting_space, self.spec.observation_epsilon
            steps.append(normalizer_in_numpy(space, statistics, clip, epsilon))
        for name in ("trunk", "actor"):
            if name in self.networks:
                part = params.get(name, {})
                steps.append(self.networks[name].in_numpy(part, batched=batched))
        if None in steps or self.has_memory:
            return None

        def outputs(observation: Any) -> Any:
            found = observation
            for step in steps:
                found = step(found)
                if found is None:
                    return None
            return found

        return outputs

    def mode_in_numpy(self, params: Params) -> NumpyFunction | None:
        """From one observation to the most likely action; see `outputs_in_numpy`."""
        outputs = self.outputs_in_numpy(params)
        if outputs is None:
            return None

        def mode(observation: Any) -> Any:
            found = outputs(observation)
            return None if found is None else self.family.mode_in_numpy(found)

        return mode


def _of(carry: Carry, name: str) -> Carry:
    """The memory of one network; () where it, or every network, has none."""
    return carry[name] if name in carry else ()  # noqa: SIM401 - no memory at all may be a ()
