"""From settings of networks to the specifications of trunk, actor and critic."""

from __future__ import annotations

from typing import Any

from heredity.algorithms.ppo.config import PPOConfig
from heredity.algorithms.ppo.network_config import NetworkConfig
from heredity.common.errors import UnknownNameError, UsageError
from heredity.networks import (
    CnnOptions,
    DistributionSpec,
    GruOptions,
    MlpOptions,
    NetworkSpec,
    VitOptions,
    chosen_entries,
    default_kind,
    known_networks,
    picture_spaces,
)
from heredity.networks.cnn import uses_small_pictures
from heredity.policies import ActorCritic, PolicySpec
from heredity.spaces import Space

_SMALL_HIDDEN = (128,)  # as in MinAtar


def check_all_used(config: PPOConfig, functions: ActorCritic) -> None:
    """Refuse settings of which only the built networks show that they do nothing.

    To be asked when a run begins; one that an early version began so may go on.

    Raises:
        UsageError: naming the first of them.
    """
    network = config.network
    if network.convolutions and "cnn" not in functions.spec.network_kinds:
        raise UsageError(
            f"network convolutions {network.convolutions!r}: nothing that is read is a picture, a "
            "box of shape (height, width, channels); leave them out"
        )
    if network.pooling and not functions.spec.network_kinds & {"cnn", "vit"}:
        raise UsageError(
            f"network pooling {network.pooling!r}: nothing that is read is a picture, a box of "
            "shape (height, width, channels); leave it out"
        )
    if config.sequence_length is not None and not functions.has_memory:
        raise UsageError(
            f"sequence_length {config.sequence_length!r} is for networks with memory, "
            f"{network.kind!r} has none: leave it out"
        )


def network_specs(
    config: NetworkConfig, observation_space: Space
) -> tuple[NetworkSpec | None, NetworkSpec, NetworkSpec]:
    """Trunk (None unless shared), actor and critic.

    Raises:
        UnknownNameError: for an unknown kind, activation or entry.
    """
    # One that is nobody's is refused when it is built.
    if ":" not in config.kind and config.kind not in ("auto", *known_networks()):
        known = ("auto", *known_networks(), "package.module:name")
        raise UnknownNameError("network kind", config.kind, known)
    hidden = config.hidden
    if config.shared:
        trunk = _spec(config, observation_space, hidden, config.actor_reads, 2.0**0.5)
        head = _layers(config, ())
        actor = MlpOptions(**head, output_scale=config.actor_output_scale)
        return trunk, actor.spec(), MlpOptions(**head).spec()
    critic_hidden = hidden if config.critic_hidden is None else config.critic_hidden
    actor = _spec(config, observation_space, hidden, config.actor_reads, config.actor_output_scale)
    critic = _spec(config, observation_space, critic_hidden, config.critic_reads, 1.0)
    return None, actor, critic


def policy_spec(
    config: PPOConfig,
    observation_space: Space,
    action_space: Space,
    environment: dict[str, Any] | None = None,
) -> PolicySpec:
    """The specification of the policies that these settings train."""
    kind = config.distribution if config.distribution != "auto" else default_kind(action_space)
    trunk, actor, critic = network_specs(config.network, observation_space)
    return PolicySpec(
        observation_space=observation_space,
        action_space=action_space,
        actor=actor,
        critic=critic,
        trunk=trunk,
        distribution=DistributionSpec(kind, config.initial_std),
        normalize_observations=config.normalize_observations,
        normalize_rewards=config.normalize_rewards,
        observation_clip=config.observation_clip,
        environment=environment,
        algorithm="ppo",
    )


def _layers(config: NetworkConfig, hidden: tuple[int, ...] | None) -> dict[str, Any]:
    """What is the same for layers of every kind; what is not given is the kind's own."""
    given = {"hidden": hidden, "activation": config.activation}
    return {
        **{name: value for name, value in given.items() if value is not None},
        "kernel_init": config.kernel_init,
        "hidden_scale": config.hidden_scale,
        "dtype": config.dtype,
    }


def _spec(
    config: NetworkConfig,
    space: Space,
    hidden: tuple[int, ...] | None,
    reads: tuple[str, ...],
    output_scale: float,
) -> NetworkSpec:
    """One network that reads observations."""
    seen = chosen_entries(space, reads)
    if ":" in config.kind:
        # As a file has them, so that a specification is equal to the one that was read back.
        options = {n: list(v) if isinstance(v, tuple) else v for n, v in config.options.items()}
        return NetworkSpec(config.kind, options, reads)
    kind = config.kind
    if kind in ("auto", "gru"):
        kind = "cnn" if picture_spaces(seen) else "mlp"
    layers = _layers(config, hidden)
    if kind == "vit":
        options = VitOptions(**layers, output_scale=output_scale, **config.vit_options())
        return NetworkSpec("vit", options.reading(seen).spec().options, reads)
    if kind == "cnn":
        if hidden is None and not config.convolutions and uses_small_pictures(seen):
            layers["hidden"] = _SMALL_HIDDEN
        encoder = CnnOptions(
            **layers,
            output_scale=output_scale,
            convolutions=config.convolutions,
            pooling=config.pooling or "none",
        ).spec()
    else:
        encoder = MlpOptions(**layers, output_scale=output_scale).spec()
    if config.kind != "gru":
        return NetworkSpec(encoder.kind, encoder.options, reads)
    memory = GruOptions(
        **{**_layers(config, ()), "hidden": ()},
        output_scale=output_scale,
        size=config.memory_size,
        encoder=encoder.to_json(),
    )
    return NetworkSpec("gru", memory.spec().options, reads)
