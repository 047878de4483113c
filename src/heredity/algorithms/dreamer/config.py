"""The settings of DreamerV3. Importing this loads no numerical library."""

from __future__ import annotations

import dataclasses
import math
import numbers
from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from heredity.algorithms.dreamer.encoder_config import EncoderConfig
from heredity.algorithms.dreamer.mixture import Mixture
from heredity.common.errors import UsageError
from heredity.common.fields import check_fields, from_mapping

SIZES: dict[str, dict[str, int]] = {
    "size1m": {"deter": 512, "hidden": 64, "units": 64, "classes": 4, "depth": 4},
    "size12m": {"deter": 2048, "hidden": 256, "units": 256, "classes": 16, "depth": 16},
    "size25m": {"deter": 3072, "hidden": 384, "units": 384, "classes": 24, "depth": 24},
    "size50m": {"deter": 4096, "hidden": 512, "units": 512, "classes": 32, "depth": 32},
    "size100m": {"deter": 6144, "hidden": 768, "units": 768, "classes": 48, "depth": 48},
    "size200m": {"deter": 8192, "hidden": 1024, "units": 1024, "classes": 64, "depth": 64},
    "size400m": {"deter": 12288, "hidden": 1536, "units": 1536, "classes": 96, "depth": 96},
}
"""The sizes of the authors, by the number of weights they have in about."""

MOST_CLASSES = 255
"""Numbers of a choice that a byte has beside that for none."""


@dataclasses.dataclass(frozen=True)
class DreamerConfig:
    """Settings of DreamerV3 (Hafner et al. 2023, as the authors' code has been since 2024).

    Args:
        num_envs: Environments stepped side by side.
        num_steps: Steps of each environment between two rounds of learning.
        train_ratio: How often each recorded step is replayed in the mean: gradient steps per
            recorded step are this divided by batch_size * batch_length.
        batch_size: Sequences of a gradient step.
        batch_length: Steps of each sequence.
        overlap: On the host: whether to act while the device learns. Decisions then follow weights
            that are one iteration older; a resume is as exact as without.
        replay_capacity: Steps that are kept to be replayed, all environments together.
        replay_memory: Gibibytes of memory that they may take. On the host older steps lie in files
            then, and their states are no more renewed; default: half of the machine's.
        recency_share: Share of sequences whose chances to be replayed fall as one over their age.
        priority_share: Share of sequences whose chances grow with what the world model lost on them
            when it learnt from them last; all others have equal chances.
        priority_exponent: Of that loss.
        deter: Numbers of the state that follow from what was before.
        hidden: Width of the hidden layers of the dynamics.
        units: Width of all other hidden layers.
        groups: Of choices that are drawn as the rest of the state.
        classes: Of each of these choices.
        depth: Convolutions have two, three, four and four times as many features.
        blocks: Into so many the recurrent layers are divided; must divide deter.
        imagination_length: Steps that are imagined from each replayed one.
        discount: Discount factor of one step (gamma).
        gae_lambda: Lambda of the mixed returns.
        learning_rate: After the warm-up.
        learning_rate_warmup: Gradient steps over which it rises from 0.
        gradient_clip: A weight's gradient may be so many times as long as the weight.
        entropy_coefficient: Weight of the actor's entropy.
        free_nats: Below so many nats a moment the posterior may differ from the prior for nothing.
        uniform_mix: Share of equal chances in the choices of the state.
        actor_uniform_mix: The same in discrete actions: the paper has 0.01, the authors' code 0.
        objective: What the state is to say of what is seen: ``reconstruction`` predicts it
            (DreamerV3); ``barlow_twins`` agrees with what the encoder made of it, and has no
            decoder (R2-Dreamer, 2026).
        reconstruction_scale: Weight of what the decoder loses.
        barlow_twins_scale: Weight of the disagreement, where there is no decoder.
        redundancy_scale: Within it, weight of what the features have in common.
        dynamics_scale: Weight of what the prior learns of the posterior.
        representation_scale: Weight of what the posterior learns of the prior.
        replayed_critic_scale: Weight of what the critic learns of replayed rewards.
        slow_critic_rate: How far the slow critic follows the critic at each gradient step.
        return_range_rate: How far the percentiles of returns move at each gradient step.
        dtype: What networks compute in: float32 or bfloat16. Weights are float32.
        encoder: Settings of a pretrained encoder, an `EncoderConfig` or a mapping.
        cache_features: Whether the features of a frozen pretrained encoder are kept in the replay,
            so that it computes them once: auto (when it is frozen) or never.
        freeze: Patterns of weights that are not trained, for example ``trunk/encoder/**``.
        unfreeze: Frozen weights that are trained from a step on, each as PATTERN@STEP.
        learning_rate_scale: What the learning rate of some weights is multiplied by, each as
            PATTERN=NUMBER; of several that match the last one counts.
    """

    algorithm: ClassVar[str] = "dreamer"

    num_envs: int = 16
    num_steps: int = 16
    train_ratio: float = 32.0
    batch_size: int = 16
    batch_length: int = 64
    overlap: bool = False
    replay_capacity: int = 1_000_000
    replay_memory: float | None = None
    recency_share: float = 0.0
    priority_share: float = 0.0
    priority_exponent: float = 0.8
    deter: int = 2048
    hidden: int = 256
    units: int = 256
    groups: int = 32
    classes: int = 16
    depth: int = 16
    blocks: int = 8
    imagination_length: int = 15
    discount: float = 1.0 - 1.0 / 333.0
    gae_lambda: float = 0.95
    learning_rate: float = 4e-5
    learning_rate_warmup: int = 1000
    gradient_clip: float = 0.3
    entropy_coefficient: float = 3e-4
    free_nats: float = 1.0
    uniform_mix: float = 0.01
    actor_uniform_mix: float = 0.0
    objective: Literal["reconstruction", "barlow_twins"] = "reconstruction"
    reconstruction_scale: float = 1.0
    barlow_twins_scale: float = 0.05
    redundancy_scale: float = 5e-4
    dynamics_scale: float = 1.0
    representation_scale: float = 0.1
    replayed_critic_scale: float = 0.3
    slow_critic_rate: float = 0.02
    return_range_rate: float = 0.01
    dtype: Literal["float32", "bfloat16"] = "float32"
    encoder: EncoderConfig = dataclasses.field(
        default_factory=EncoderConfig, metadata={"unset": "optional"}
    )
    cache_features: Literal["auto", "never"] = "auto"
    freeze: tuple[str, ...] = ()
    unfreeze: tuple[str, ...] = ()
    learning_rate_scale: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if isinstance(self.encoder, Mapping):
            object.__setattr__(
                self, "encoder", from_mapping(EncoderConfig, self.encoder, "encoder")
            )
        check_fields(self)
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if isinstance(value, numbers.Real) and not isinstance(value, bool):
                _check_number(field.name, value)
        if self.deter % self.blocks:
            raise UsageError(f"blocks {self.blocks} does not divide deter {self.deter}")
        if self.recency_share + self.priority_share > 1.0:
            raise UsageError(
                f"recency_share {self.recency_share:g} and priority_share {self.priority_share:g}: "
                "at most 1 together was expected"
            )
        if self.batch_length < 2:
            raise UsageError(f"batch_length {self.batch_length}: 2 or more steps were expected")
        if self.classes > MOST_CLASSES:
            raise UsageError(
                f"classes {self.classes:,}: at most {MOST_CLASSES} were expected, because the "
                "replay keeps each choice in a byte; groups can be more"
            )
        least = max(self.records_to_learn, self.num_steps)
        if self.records_per_env < least:
            raise UsageError(
                f"replay_capacity {self.replay_capacity:,} is {self.records_per_env:,} steps of "
                f"each of {self.num_envs} environments: sequences have {self.sequence_length}, "
                f"learning begins with {self.batch_size * self.batch_length:,} of them "
                f"(batch_size times batch_length), and {self.num_steps} steps come at once. Give "
                f"{least * self.num_envs:,} or more, or a smaller batch_length"
            )

    @property
    def divided(self) -> Mapping[str, int]:
        """What several devices divide among themselves, by how a person sets it."""
        return {"num_envs": self.num_envs, "batch_size": self.batch_size}

    @property
    def own_networks(self) -> tuple[str, ...]:
        """No networks of a person's own."""
        return ()

    @property
    def records_per_env(self) -> int:
        """Steps of each environment that are kept."""
        return self.replay_capacity // self.num_envs

    @property
    def mixture(self) -> Mixture:
        """Which sequences are learnt from again."""
        return Mixture(self.recency_share, self.priority_share, self.priority_exponent)

    @property
    def sequence_length(self) -> int:
        """Steps that are read for a sequence: one before it says how it begins."""
        return self.batch_length + 1

    @property
    def records_to_learn(self) -> int:
        """Of each environment, with which learning begins: a sequence for each batch's moment."""
        sequences = -(-self.batch_size * self.batch_length // self.num_envs)
        return self.sequence_length - 1 + sequences

    @property
    def gradient_steps_per_record(self) -> float:
        """Of all environments together."""
        return self.train_ratio / (self.batch_size * self.batch_length)

    @property
    def loss_scales(self) -> dict[str, float]:
        """The weights of all losses, by name."""
        return {
            "reconstruction": self.reconstruction_scale,
            "barlow_twins": self.barlow_twins_scale,
            "reward": 1.0,
            "continue": 1.0,
            "dynamics": self.dynamics_scale,
            "representation": self.representation_scale,
            "actor": 1.0,
            "critic": 1.0,
            "replayed_critic": self.replayed_critic_scale,
        }


_MAY_BE_ZERO = {
    *("learning_rate", "learning_rate_warmup", "entropy_coefficient", "free_nats", "uniform_mix"),
    *("actor_uniform_mix", "reconstruction_scale", "dynamics_scale", "representation_scale"),
    *("replayed_critic_scale", "barlow_twins_scale", "redundancy_scale", "gae_lambda"),
    *("train_ratio", "recency_share", "priority_share", "priority_exponent"),
}
_AT_MOST_ONE = {
    *("discount", "gae_lambda", "uniform_mix", "actor_uniform_mix", "slow_critic_rate"),
    *("return_range_rate", "recency_share", "priority_share"),
}


def _check_number(name: str, value: numbers.Real) -> None:
    least = 0.0 if name in _MAY_BE_ZERO else math.ulp(0.0)
    most = 1.0 if name in _AT_MOST_ONE else 2.0**31 - 1
    if not least <= float(value) <= most:
        bound = ">= 0" if name in _MAY_BE_ZERO else "> 0"
        told = f"{most:,.0f}"
        raise UsageError(f"{name} {value!r}: a finite number {bound} and <= {told} was expected")


def recorded_config(settings: Mapping[str, Any]) -> DreamerConfig:
    """Settings from the file of a run."""
    return DreamerConfig(**settings)
