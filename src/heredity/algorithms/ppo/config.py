"""The settings of PPO. Importing this loads no numerical library."""

from __future__ import annotations

import dataclasses
import math
import numbers
from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from heredity.algorithms.freezing import read_scales, read_unfreezing
from heredity.algorithms.ppo.network_config import NetworkConfig, idle_settings
from heredity.common.errors import UsageError
from heredity.common.fields import check_fields, from_mapping


@dataclasses.dataclass(frozen=True)
class _Bound:
    """What a float setting may be; always a finite number.

    Args:
        low: Not below this.
        high: Not above this.
        without: Not this either.
        optional: Whether None will do as well.
        advice: What to give instead.
    """

    low: float = -math.inf
    high: float = math.inf
    without: float | None = None
    optional: bool = False
    advice: str = ""

    def check(self, name: str, value: object) -> None:
        if value is None and self.optional:
            return
        found = math.nan
        if isinstance(value, numbers.Real) and not isinstance(value, bool):
            found = float(value)
        inside = math.isfinite(found) and self.low <= found <= self.high
        if not inside or found == self.without:
            advice = f" ({self.advice})" if self.advice else ""
            raise UsageError(f"{name} {value!r}: {self} was expected{advice}")

    def __str__(self) -> str:
        words = "a finite number"
        if self.low > -math.inf:
            words += f" {'>' if self.low == self.without else '>='} {self.low:g}"
        elif self.without is not None:
            words += f" other than {self.without:g}"
        if self.high < math.inf:
            words += f" and <= {self.high:g}"
        return words + (" or None" if self.optional else "")


_ANY_POSITIVE = _Bound(low=0, without=0)
_NOT_NEGATIVE = _Bound(low=0)
_SHARE = _Bound(low=0, high=1)
_POSITIVE_OR_NONE = _Bound(low=0, without=0, optional=True)
_BOUNDS = {
    "learning_rate": _NOT_NEGATIVE,
    "learning_rate_end": _NOT_NEGATIVE,
    "discount": _SHARE,
    "gae_lambda": _SHARE,
    "clip_range": _NOT_NEGATIVE,
    "clip_range_value": _POSITIVE_OR_NONE,
    "entropy_coefficient": _NOT_NEGATIVE,
    "value_coefficient": _NOT_NEGATIVE,
    "max_grad_norm": _Bound(
        low=0, without=0, advice="a very large number such as 1e9 leaves gradients as they are"
    ),
    "adam_epsilon": _ANY_POSITIVE,
    "target_kl": _POSITIVE_OR_NONE,
    "desired_kl": _ANY_POSITIVE,
    "learning_rate_min": _NOT_NEGATIVE,
    "learning_rate_max": _ANY_POSITIVE,
    "observation_clip": _ANY_POSITIVE,
    "reward_scale": _Bound(without=0),
    "initial_std": _ANY_POSITIVE,
}

_WITHOUT_MEMORY = ("auto", "cnn", "mlp", "vit")


@dataclasses.dataclass(frozen=True)
class PPOConfig:
    """Settings of proximal policy optimisation (Schulman et al. 2017).

    Args:
        num_envs: Environments stepped side by side.
        num_steps: Decisions of each environment between two updates.
        num_epochs: Passes over the collected transitions in one update.
        num_minibatches: Minibatches in each pass; must divide num_envs * num_steps.
        learning_rate: Learning rate of Adam at the start.
        learning_rate_schedule: constant; linear (from learning_rate to learning_rate_end over
            schedule_timesteps); adaptive_kl (multiplied by 1.5 at a minibatch where the
            policy has moved less than half of desired_kl, divided by 1.5 where it has moved more
            than twice that).
        learning_rate_end: Learning rate at the end of the linear schedule, and after it.
        discount: Discount factor of one decision (gamma).
        gae_lambda: Lambda of generalised advantage estimation (Schulman et al. 2016).
        clip_range: How far the probability ratio may move from 1 before its gradient is cut.
        clip_range_schedule: constant; linear (to 0 over schedule_timesteps).
        clip_range_value: How far a value may move from the old one in an update; none for no limit.
        normalize_advantages: Scale advantages to mean 0 and standard deviation 1 in each minibatch.
        entropy_coefficient: Weight of the entropy bonus in the loss.
        value_coefficient: Weight of the critic's mean squared error in the loss.
        max_grad_norm: Gradients with a larger global norm are scaled down to it.
        adam_epsilon: Epsilon of Adam.
        target_kl: The rest of an update is skipped once the approximate divergence from the acting
            policy exceeds 1.5 times this; none for never.
        desired_kl: Divergence from the acting policy that adaptive_kl aims at.
        learning_rate_min: Lowest learning rate that adaptive_kl sets.
        learning_rate_max: Highest learning rate that adaptive_kl sets.
        normalize_observations: Normalise observations by their running mean and standard deviation,
            which are part of the policy.
        observation_clip: Normalised observations are clipped to this many standard deviations.
        normalize_rewards: Divide rewards by the running standard deviation of the discounted
            return, and clip the result to between -10 and 10.
        reward_scale: Factor applied to every reward, before normalize_rewards. The environment's
            option of that name comes before it, and before reward_clip: they multiply.
        distribution: Of continuous actions: auto (which is normal), normal (clipped to the bounds)
            or tanh_normal (squashed into the bounds).
        initial_std: Standard deviation of the normal distribution at the start, in the units of the
            action.
        sequence_length: For networks with memory: decisions that a gradient flows back through;
            must divide num_steps; default: num_steps.
        network: Settings of the networks, a `NetworkConfig` or a mapping.
        freeze: Patterns of weights that are not trained, for example ``actor/hidden_0/**``.
        unfreeze: Frozen weights that are trained from a step on, each as PATTERN@STEP, for example
            ``trunk/encoder/**@100000``.
        learning_rate_scale: What the learning rate of some weights is multiplied by, each as
            PATTERN=NUMBER, for example ``trunk/encoder/**=0.1``; of several that match the last
            one counts.
        cache_features: Whether features of each observation are kept while acting, so that learning
            need not compute them again: auto (where encoders, those of a cnn or a vit, are frozen
            as a whole), always (an error where that cannot be), never.
    """

    algorithm: ClassVar[str] = "ppo"

    num_envs: int = 8
    num_steps: int = 128
    num_epochs: int = 4
    num_minibatches: int = 4
    learning_rate: float = 3e-4
    learning_rate_schedule: Literal["constant", "linear", "adaptive_kl"] = "constant"
    learning_rate_end: float = 0.0
    discount: float = 0.99
    gae_lambda: float = 0.95
    clip_range: float = 0.2
    clip_range_schedule: Literal["constant", "linear"] = "constant"
    clip_range_value: float | None = None
    normalize_advantages: bool = True
    entropy_coefficient: float = 0.0
    value_coefficient: float = 0.5
    max_grad_norm: float = 0.5
    adam_epsilon: float = 1e-5
    target_kl: float | None = None
    desired_kl: float = 0.01
    learning_rate_min: float = 1e-5
    learning_rate_max: float = 1e-2
    normalize_observations: bool = False
    observation_clip: float = 10.0
    normalize_rewards: bool = False
    reward_scale: float = 1.0
    distribution: Literal["auto", "normal", "tanh_normal"] = "auto"
    initial_std: float = 1.0
    sequence_length: int | None = None
    network: NetworkConfig = dataclasses.field(
        default_factory=NetworkConfig, metadata={"unset": "default: by kind"}
    )
    freeze: tuple[str, ...] = ()
    unfreeze: tuple[str, ...] = ()
    learning_rate_scale: tuple[str, ...] = ()
    cache_features: Literal["auto", "always", "never"] = "auto"

    def __post_init__(self) -> None:
        for name, bound in _BOUNDS.items():
            bound.check(name, getattr(self, name))
        if isinstance(self.network, str):
            raise UsageError(
                f"network {self.network!r}: settings by name were expected, such as "
                f"network={{'kind': {self.network!r}}}"
            )
        if isinstance(self.network, Mapping):
            object.__setattr__(
                self, "network", from_mapping(NetworkConfig, self.network, "network")
            )
        check_fields(self)
        for name in ("num_envs", "num_steps", "num_epochs", "num_minibatches"):
            value = getattr(self, name)
            if value < 1:
                raise UsageError(f"{name} {value!r}: a whole number >= 1 was expected")
        if self.num_transitions >= 2**31:
            raise UsageError(
                f"num_envs * num_steps = {self.num_envs} * {self.num_steps}: below 2**31 was "
                "expected"
            )
        if self.num_transitions % self.num_minibatches:
            raise UsageError(
                f"num_minibatches {self.num_minibatches} does not divide num_envs * num_steps = "
                f"{self.num_envs} * {self.num_steps} = {self.num_transitions}"
            )
        if self.minibatch_size < 2 and self.normalize_advantages:
            raise UsageError(
                "a minibatch of one transition has no deviation: use fewer num_minibatches, or "
                "normalize_advantages=False"
            )
        if self.learning_rate_min > self.learning_rate_max:
            raise UsageError(
                f"learning_rate_min {self.learning_rate_min!r}: a number <= learning_rate_max = "
                f"{self.learning_rate_max!r} was expected"
            )
        read_unfreezing(self.unfreeze)
        read_scales(self.learning_rate_scale)
        length = self.sequence_length
        if length is not None and (length < 1 or self.num_steps % length):
            raise UsageError(
                f"sequence_length {length!r} does not divide num_steps {self.num_steps}"
            )
        if length is not None and self.network.kind in _WITHOUT_MEMORY:
            raise UsageError(
                f"sequence_length {length!r} is for networks with memory (network kind gru), the "
                f"kind is {self.network.kind!r}: leave it out"
            )

    @property
    def num_transitions(self) -> int:
        """Decisions between two updates, all environments together."""
        return self.num_envs * self.num_steps

    @property
    def num_sequences(self) -> int:
        """Sequences that a network with memory learns from in one update."""
        return self.num_transitions // (self.sequence_length or self.num_steps)

    @property
    def minibatch_size(self) -> int:
        """Transitions in one gradient step."""
        return self.num_transitions // self.num_minibatches

    @property
    def divided(self) -> Mapping[str, int]:
        """What several devices divide among themselves, by how a person sets it."""
        return {
            "num_envs": self.num_envs,
            "num_envs * num_steps / num_minibatches": self.minibatch_size,
        }

    @property
    def own_networks(self) -> tuple[str, ...]:
        """Networks of a person's own that settings name, each as ``package.module:name``."""
        return (self.network.kind,) if ":" in self.network.kind else ()


def recorded_config(settings: Mapping[str, Any]) -> PPOConfig:
    """Settings from the file of a run. Early versions took some that do nothing: they are left out.

    Example:
        >>> recorded_config({"num_envs": 4, "sequence_length": 8}).sequence_length is None
        True
    """
    network = settings.get("network", {})
    if not isinstance(network, Mapping):
        return PPOConfig(**settings)
    idle = idle_settings(network)
    used = {**settings, "network": {n: v for n, v in network.items() if n not in idle}}
    if network.get("kind", "auto") in _WITHOUT_MEMORY:
        used["sequence_length"] = None
    return PPOConfig(**used)
