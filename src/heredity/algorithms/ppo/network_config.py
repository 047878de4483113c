"""The settings of PPO's networks. Importing this loads no numerical library."""

from __future__ import annotations

import dataclasses
import math
from typing import Literal

from heredity.common.errors import UsageError
from heredity.common.fields import Scalar, check_fields


@dataclasses.dataclass(frozen=True)
class NetworkConfig:
    """Which networks are trained.

    Args:
        kind: auto (cnn where pictures are seen, else mlp), mlp, cnn, gru (memory behind what auto
            would choose), or package.module:name of a network of your own.
        hidden: Widths of the hidden layers, of a cnn or gru those after the convolutions or before
            the memory; default: 64 64, of a cnn 512, with small pictures 128.
        critic_hidden: The same for the critic; default: as hidden.
        activation: elu, gelu, relu, swish or tanh; default: tanh, of a cnn relu.
        kernel_init: orthogonal or lecun_uniform.
        actor_output_scale: Gain of the actor's last layer at the start.
        convolutions: Each as features x kernel / stride, such as 32x8/4; default: those of Mnih et
            al. 2015, for small pictures 16x3/1.
        memory_size: How many numbers a gru remembers.
        shared: One trunk for actor and critic, with a last layer for each.
        actor_reads: Entries of a Dict observation that the actor sees; default: all.
        critic_reads: Entries that the critic sees; default: all. Only those of the actor are needed
            when the policy acts.
        dtype: What is computed in, float32 or bfloat16; weights are float32.
        options: Of a network of your own, by name.
    """

    kind: str = "auto"
    hidden: tuple[int, ...] | None = None
    critic_hidden: tuple[int, ...] | None = None
    activation: str | None = None
    kernel_init: str = "orthogonal"
    actor_output_scale: float = 0.01
    convolutions: tuple[str, ...] = ()
    memory_size: int = 128
    shared: bool = False
    actor_reads: tuple[str, ...] = ()
    critic_reads: tuple[str, ...] = ()
    dtype: Literal["float32", "bfloat16"] = "float32"
    options: dict[str, Scalar] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        check_fields(self)
        scale = self.actor_output_scale
        if not (math.isfinite(scale) and scale >= 0):
            raise UsageError(f"actor_output_scale {scale!r}: a finite number >= 0 was expected")
        if self.shared and self.actor_reads != self.critic_reads:
            raise UsageError(
                "shared networks read the same: actor_reads and critic_reads differ; leave one "
                "of them, or shared, out"
            )
        if self.shared and self.critic_hidden not in (None, self.hidden):
            raise UsageError("a shared trunk has one width: critic_hidden is not hidden")
        if self.options and ":" not in self.kind:
            raise UsageError(
                f"network options {sorted(self.options)} are for a kind of your own "
                f"(package.module:name), the kind is {self.kind!r}"
            )
