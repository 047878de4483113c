"""From settings to the specification of a policy with a world model."""

from __future__ import annotations

from typing import Any

from heredity.algorithms.dreamer.config import DreamerConfig
from heredity.networks import (
    BinsOptions,
    DecoderOptions,
    DistributionSpec,
    EncoderOptions,
    HeadOptions,
    NetworkSpec,
    RssmOptions,
    VitOptions,
    build_distribution,
    build_network,
)
from heredity.policies import PolicySpec
from heredity.spaces import Box, Discrete, MultiDiscrete, Space

_FAMILIES = {Discrete: "categorical", MultiDiscrete: "multi_categorical", Box: "bounded_normal"}


def encoder_spec(config: DreamerConfig, observation_space: Space) -> NetworkSpec:
    """What encodes observations: DreamerV3's own network, or the vit of the settings' weights.

    Raises:
        UsageError: when a vit is to read what has no pictures.
    """
    given = config.encoder
    if not given.is_vit:
        return EncoderOptions(depth=config.depth, units=config.units, dtype=config.dtype).spec()
    # No layers of its own behind it: the posterior reads its features as they are.
    options = {**given.options, **given.given(), "dtype": given.dtype or config.dtype, "hidden": ()}
    return VitOptions(**options).reading(observation_space).spec()


def policy_spec(
    config: DreamerConfig,
    observation_space: Space,
    action_space: Space,
    environment: dict[str, Any] | None = None,
) -> PolicySpec:
    """The specification of the policies that these settings train.

    ``trunk`` is the world model's encoder and dynamics, and ``actor`` and ``critic`` read its
    state; the heads ``decoder``, ``reward`` and ``continue`` predict what will be seen and earned.
    Without a decoder the head ``projection`` predicts what the encoder makes of what is seen.
    """
    mix = config.actor_uniform_mix if not isinstance(action_space, Box) else 0.0
    distribution = DistributionSpec(_FAMILIES.get(type(action_space), ""), uniform_mix=mix)
    family = build_distribution(distribution, action_space)
    sizes: dict[str, Any] = {"units": config.units, "dtype": config.dtype}
    encoder = encoder_spec(config, observation_space)
    trunk = RssmOptions(
        actions=family.action_features,
        deter=config.deter,
        groups=config.groups,
        classes=config.classes,
        blocks=config.blocks,
        uniform_mix=config.uniform_mix,
        encoder=encoder.to_json(),
        units=config.hidden,
        dtype=config.dtype,
    )
    if config.objective == "reconstruction":
        decoder = DecoderOptions.of(
            observation_space, depth=config.depth, blocks=config.blocks, deter=config.deter, **sizes
        )
        of_seen = {"decoder": decoder.spec()}
    else:
        tokens = build_network(encoder, observation_space, None).output_size
        of_seen = {"projection": HeadOptions(layers=0, outputs=tokens, **sizes).spec()}
    return PolicySpec(
        observation_space=observation_space,
        action_space=action_space,
        actor=HeadOptions(layers=3, output_scale=0.01, **sizes).spec(),
        critic=BinsOptions(layers=3, **sizes).spec(),
        trunk=trunk.spec(),
        heads={
            **of_seen,
            "reward": BinsOptions(layers=1, **sizes).spec(),
            "continue": HeadOptions(layers=1, **sizes).spec(),
        },
        distribution=distribution,
        environment=environment,
        algorithm="dreamer",
    )
