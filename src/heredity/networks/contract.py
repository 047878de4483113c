"""What every network is: data that describes it, and functions over a dict of weights."""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import jax

from heredity.common.errors import RefusedError, UnknownNameError, UntrustedError
from heredity.networks.axes import Axes, Piece, output_pieces
from heredity.networks.observations import chosen_entries
from heredity.spaces import Space
from heredity.weights import Params

Carry: TypeAlias = Any
Taps: TypeAlias = dict[str, jax.Array]
NumpyFunction: TypeAlias = Callable[[Any], Any]


@dataclasses.dataclass(frozen=True)
class NetworkSpec:
    """A network as data: which kind, and the options that kind takes.

    Args:
        kind: A name from the registry, such as ``mlp``; or ``package.module:name``.
        options: JSON values; checked by the kind when it is built.
        reads: Patterns of the entries of a `Dict` observation that it reads; () for all of them.
    """

    kind: str
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    reads: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The specification as a JSON object."""
        reads = {"reads": list(self.reads)} if self.reads else {}
        return {"kind": self.kind, **reads, **self.options}

    @classmethod
    def from_json(cls, value: Mapping[str, Any], path: str = "network") -> NetworkSpec:
        """The specification that `to_json` wrote."""
        if not isinstance(value, Mapping) or not isinstance(value.get("kind"), str):
            raise RefusedError(path, f"does not describe a network: {value!r}")
        reads = value.get("reads", ())
        if isinstance(reads, str) or not all(isinstance(name, str) for name in reads):
            raise RefusedError(path, f"has reads {reads!r}: a list of names was expected")
        options = {k: v for k, v in value.items() if k not in ("kind", "reads")}
        return cls(value["kind"], options, tuple(reads))


class Network(abc.ABC):
    """Functions over weights; holds none itself.

    Attributes:
        spec: What it was built from.
        output_size: How many numbers it puts out.
        takes_actions: Whether its memory has to be told what was done; see `acted`.
        no_wider: Why its layers cannot be made wider; empty where they can.
    """

    spec: NetworkSpec
    output_size: int
    takes_actions: bool = False
    no_wider: str = ""

    @property
    def has_memory(self) -> bool:
        """Whether what it puts out depends on moments before."""
        return bool(jax.tree.leaves(jax.eval_shape(lambda: self.initial_carry(()))))

    @property
    def hidden_layers(self) -> tuple[str, ...]:
        """The taps that are layers of units, ``(..., units)``, in which some may be dead."""
        return ()

    @abc.abstractmethod
    def init(self, key: jax.Array) -> Params:
        """Fresh weights as a nested dict."""

    @abc.abstractmethod
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
        """One moment of any batch shape.

        Args:
            params: What `init` gives.
            observation: From the observation space, with leading batch axes ``(...,)``.
            carry: Memory from the moment before; ``()`` for a network without.
            is_first: Shape ``(...,)``, bool; where an episode begins the memory is forgotten.
            key: For networks that draw.
            taps: Names of inner activations to return as well.

        Returns:
            Outputs ``(..., output_size)``, the new carry, and the tapped activations by name.
        """

    def initial_carry(self, batch_shape: tuple[int, ...]) -> Carry:
        """The memory at the start of an episode; ``()`` when there is none."""
        del batch_shape
        return ()

    def acted(self, carry: Carry, action: jax.Array) -> Carry:
        """The memory, once an action was chosen.

        Args:
            carry: What `apply` gave.
            action: As `Distribution.features` has it, ``(..., N)``.
        """
        del action
        return carry

    def scan(
        self,
        params: Params,
        observation: Any,
        carry: Carry = (),
        *,
        is_first: jax.Array | None = None,
        key: jax.Array | None = None,
    ) -> tuple[jax.Array, Carry]:
        """The same over ``(T, B, ...)``: without memory one larger batch, else moment by moment.

        To be written anew where all moments can be computed at once but for the memory.
        """
        if not self.has_memory:
            output, carry, _ = self.apply(params, observation, carry, is_first=is_first, key=key)
            return output, carry
        moments = jax.tree.leaves(observation)[0].shape[0]
        keys = None if key is None else jax.random.split(key, moments)

        def step(carry: Carry, now: tuple[Any, Any, Any]) -> tuple[Carry, jax.Array]:
            seen, first, drawing = now
            output, carry, _ = self.apply(params, seen, carry, is_first=first, key=drawing)
            return carry, output

        carry, outputs = jax.lax.scan(step, carry, (observation, is_first, keys))
        return outputs, carry

    def cast(self, params: Params) -> Params:
        """Weights of which those are cast already that `apply` would cast at each call.

        For whoever calls it often with the same weights, and needs no gradient. The outputs are the
        same. Networks that say nothing leave the weights as they are.
        """
        return params

    def in_numpy(self, params: Params, *, batched: bool = False) -> NumpyFunction | None:
        """`apply` for few observations at a time, in numpy; None where nobody wrote it.

        For few observations, handing a compiled program its arguments takes longer than a small
        network does. Equal to `apply` up to rounding.

        Args:
            params: What `init` gives, as numpy arrays. Kept, not copied.
            batched: Whether observations come with a leading axis (B,).

        Returns:
            From one observation to outputs ``(output_size,)``, or from a batch to
            ``(B, output_size)``; or to None where only `apply` can tell.
        """
        del params, batched
        return None

    def axes(self) -> Axes:
        """What each axis of each leaf is made of, by path; {} where nobody knows.

        Weights move to other spaces and widths by this alone (see `heredity.networks.axes`):

        - What reads the observation is made of `column_pieces`, in the order of `features`, or of
          the ``channels`` of a picture.
        - Units of a layer have one name wherever they are read or made. With `grows` there may be
          more of them; with `activation` another layer may follow that leaves them as they are.
        - The last axis is `output_pieces`: what outputs mean is known to the policy, and so is
          what ``actions`` are, of which a memory is told.
        """
        return {}

    def options_for(self, observation_space: Space, actions: int) -> Mapping[str, Any]:
        """Those of its options that follow from the spaces of a policy, for other spaces.

        Args:
            observation_space: Of the policy.
            actions: How many numbers say what was done; see `Distribution.action_features`.
        """
        del observation_space, actions
        return {}

    def output_pieces(self) -> tuple[Piece, ...]:
        """What the outputs are made of, for networks that read this one as their trunk."""
        return output_pieces(self.output_size)

    def entry_folders(self) -> Mapping[str, str]:
        """Folders of weights, or units, that are named after one entry, by the path of the entry.

        They are found again where the entry is renamed; what is named after its place needs none.
        """
        return {}


class EncodingNetwork(Network):
    """A network without memory, of two parts: an encoder, and layers that read its features alone.

    Where the encoder is frozen, whoever needs outputs again and again keeps the features.
    """

    @property
    @abc.abstractmethod
    def encoders(self) -> tuple[str, ...]:
        """The folders of weights that `features` needs."""

    @abc.abstractmethod
    def features(self, params: Params, observation: Any) -> jax.Array:
        """What the encoder makes of observations ``(...,)``: numbers ``(..., F)``."""

    @abc.abstractmethod
    def from_features(self, params: Params, features: jax.Array) -> jax.Array:
        """Outputs ``(..., output_size)`` of `features`, without the encoder."""


Builder: TypeAlias = Callable[[NetworkSpec, Space, int | None], Network]
_BUILDERS: dict[str, Builder] = {}


def register_network(kind: str, builder: Builder) -> None:
    """Make a kind of network known: ``builder(spec, observation_space, output_size)``.

    The size is None for a trunk, whose outputs other networks read: it ends in its last hidden
    layer.
    """
    _BUILDERS[kind] = builder


def known_networks() -> tuple[str, ...]:
    """The kinds that can be built."""
    return tuple(sorted(_BUILDERS))


def build_network(spec: NetworkSpec, observation_space: Space, output_size: int | None) -> Network:
    """The network that a specification describes.

    Args:
        spec: Kind, options, and which entries it reads.
        observation_space: Of which it reads all entries, or those it names.
        output_size: How many numbers it puts out; None for a trunk, which decides itself.

    Raises:
        UnknownNameError: for an unknown kind, option or entry.
        UntrustedError: for ``package.module:name`` that nobody has vouched for.
    """
    if spec.kind not in _BUILDERS:
        if ":" in spec.kind:
            raise UntrustedError(
                f"the network is {spec.kind!r}, code that is not part of heredity: vouch for it "
                f"with --trust {spec.kind} (in Python trust=[{spec.kind!r}]) to have it imported"
            )
        raise UnknownNameError("network kind", spec.kind, _BUILDERS)
    return _BUILDERS[spec.kind](spec, chosen_entries(observation_space, spec.reads), output_size)
