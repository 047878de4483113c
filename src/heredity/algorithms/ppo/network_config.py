"""The settings of PPO's networks. Importing this loads no numerical library."""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Mapping
from typing import Any, Literal

from heredity.common.errors import UsageError
from heredity.common.fields import Scalar, check_fields

OWN = "package.module:name"
_BUILT_IN = ("auto", "cnn", "gru", "mlp", "vit")
_VIT = ("vit",)

# Which kinds have which setting. The other settings are not of the network itself.
KINDS_WITH: Mapping[str, tuple[str, ...]] = {
    "hidden": _BUILT_IN,
    "critic_hidden": _BUILT_IN,
    "activation": _BUILT_IN,
    "kernel_init": _BUILT_IN,
    "hidden_scale": _BUILT_IN,
    "actor_output_scale": _BUILT_IN,
    "convolutions": ("auto", "cnn", "gru"),
    "memory_size": ("gru",),
    "weights": _VIT,
    "patch": _VIT,
    "width": _VIT,
    "depth": _VIT,
    "heads": _VIT,
    "mlp_width": _VIT,
    "layer_scale": _VIT,
    "norm_epsilon": _VIT,
    "pooling": ("auto", "cnn", "gru", "vit"),
    "picture_size": _VIT,
    "picture_channels": _VIT,
    "picture_resize": _VIT,
    "picture_mean": _VIT,
    "picture_std": _VIT,
    "dtype": _BUILT_IN,
    "options": (OWN,),
}
# Behind a shared trunk of one's own stand layers of ours.
_OF_HEADS = ("kernel_init", "actor_output_scale", "dtype")


@dataclasses.dataclass(frozen=True)
class NetworkConfig:
    """Which networks are trained.

    Args:
        kind: ``auto`` (``cnn`` where pictures are seen, else ``mlp``), ``mlp``, ``cnn``, ``gru``
            (a memory behind what ``auto`` would choose), ``vit`` (a Vision Transformer), or
            ``package.module:name`` for a network of your own.
        hidden: Widths of the hidden layers; in a cnn those after the convolutions, in a vit those
            after the features, in a gru those before the memory; default: 64 64; after
            convolutions and features 512, or 128 after the default convolutions for small pictures.
        critic_hidden: The same for the critic; default: as hidden.
        activation: elu, gelu, leaky_relu, relu, selu, swish or tanh; default: tanh, in a cnn or
            vit relu.
        kernel_init: ``orthogonal`` or ``lecun_uniform``.
        hidden_scale: Gain of the hidden layers at the start; 1 for that of brax and Flax.
        actor_output_scale: Gain of the actor's last layer at the start.
        convolutions: Each as features x kernel / stride, such as 32x8/4; default: those of Mnih et
            al. 2015 (32x8/4 64x4/2 64x3/1); for pictures with a side below 36, 16x3/1.
        memory_size: Size of the memory of a gru, in numbers.
        weights: Of the encoder of a vit: a safetensors file of Hugging Face (ViT, DINOv2) or
            torchvision, or a folder with a ``model.safetensors``. It is read once, when the run
            begins; the sizes and the preprocessing are those of the file.
        patch: Side of a patch of a vit, in pixels; default: that of the weights, or 16.
        width: Of a token of a vit; default: that of the weights, or 192.
        depth: Blocks of a vit; default: those of the weights, or 12.
        heads: Of the attention of a vit; default: what the config.json beside the weights says,
            or 3.
        mlp_width: Of the hidden layer in each block of a vit; default: that of the weights, or
            four times the width.
        layer_scale: What each block of a vit multiplies its contributions by at the start; 0 for
            blocks without these weights; default: as the weights have it, or 0.
        norm_epsilon: Of the norms of a vit; default: as beside the weights, or 1e-6.
        pooling: What is made of the places of a picture: by a cnn none (each has weights of its
            own) or mean (over all, so that the weights fit pictures of any size); by a vit class
            (the class token) or mean (of all patches); default: none, class.
        picture_size: Height and width that a vit resizes pictures to; default: that of the
            weights, or of the first picture, up to whole patches.
        picture_channels: Of the pictures that a vit reads: what has a multiple of them is read as
            several pictures, one channel is repeated; default: as the weights, or the picture.
        picture_resize: bilinear or bicubic; default: as beside the weights, or bilinear.
        picture_mean: What a vit subtracts from pixels between 0 and 1, for each channel; default:
            as beside the weights, or 0.5.
        picture_std: What it divides them by then; default: as beside the weights, or 0.5.
        shared: One trunk for actor and critic, with a last layer for each.
        actor_reads: Entries of a Dict observation that the actor sees; ``**`` for all; default:
            those that the environment names for actors, or all where it names none.
        critic_reads: Entries that the critic sees; default: all. When the policy acts, only those
            of the actor are needed.
        dtype: Precision of the computation: float32 or bfloat16. Weights are float32.
        options: Options of a network of your own, by name: a number, a text, true or false, or a
            list of these.
    """

    kind: str = "auto"
    hidden: tuple[int, ...] | None = None
    critic_hidden: tuple[int, ...] | None = None
    activation: str | None = None
    kernel_init: str = "orthogonal"
    hidden_scale: float = 2.0**0.5
    actor_output_scale: float = 0.01
    convolutions: tuple[str, ...] = ()
    memory_size: int = 128
    weights: str | None = None
    patch: int | None = None
    width: int | None = None
    depth: int | None = None
    heads: int | None = None
    mlp_width: int | None = None
    layer_scale: float | None = None
    norm_epsilon: float | None = None
    pooling: Literal["none", "class", "mean"] | None = None
    picture_size: tuple[int, ...] = ()
    picture_channels: int | None = None
    picture_resize: Literal["bilinear", "bicubic"] | None = None
    picture_mean: tuple[float, ...] = ()
    picture_std: tuple[float, ...] = ()
    shared: bool = False
    actor_reads: tuple[str, ...] = ()
    critic_reads: tuple[str, ...] = ()
    dtype: Literal["float32", "bfloat16"] = "float32"
    options: dict[str, Scalar | tuple[Scalar, ...]] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        if isinstance(self.weights, os.PathLike):
            object.__setattr__(self, "weights", os.fspath(self.weights))
        check_fields(self)
        if self.weights == "":
            raise UsageError("network weights '': the path of a file was expected, or none")
        for name in ("hidden_scale", "actor_output_scale"):
            scale = getattr(self, name)
            if not (math.isfinite(scale) and scale >= 0):
                raise UsageError(f"{name} {scale!r}: a finite number >= 0 was expected")
        if self.shared and self.actor_reads != self.critic_reads:
            raise UsageError(
                "shared networks read the same: actor_reads and critic_reads differ; leave one "
                "of them, or shared, out"
            )
        if self.shared and self.critic_hidden not in (None, self.hidden):
            raise UsageError("a shared trunk has one width: critic_hidden is not hidden")
        for name in idle_settings(vars(self)):
            having = " or ".join(KINDS_WITH[name])
            raise UsageError(
                f"network {name} {getattr(self, name)!r} is for the kind {having}, the kind is "
                f"{self.kind!r}: leave it out, or choose another kind"
            )
        for name in ("hidden", "critic_hidden"):
            widths = getattr(self, name)
            if widths is not None and any(width < 1 for width in widths):
                raise UsageError(f"{name} {widths!r}: whole numbers >= 1 were expected")
        if self.memory_size < 1:
            raise UsageError(f"memory_size {self.memory_size!r}: a whole number >= 1 was expected")

    def vit_options(self) -> dict[str, Any]:
        """What is said of a vit's encoder; what is not is left to the weights, or to the kind."""
        given = {name: getattr(self, name) for name, kinds in KINDS_WITH.items() if kinds == _VIT}
        del given["weights"]
        given["pooling"] = self.pooling
        return {name: value for name, value in given.items() if value not in (None, ())}

    def as_kind(self, kind: str) -> dict[str, Any]:
        """These settings by name, without those that another kind does not have.

        Example:
            >>> NetworkConfig("gru", memory_size=8).as_kind("mlp").get("memory_size")
        """
        settings = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        idle = idle_settings(settings | {"kind": kind})
        return {name: value for name, value in settings.items() if name not in idle}


def idle_settings(given: Mapping[str, Any]) -> list[str]:
    """Names of settings that differ from their defaults, and that the kind does not have.

    Args:
        given: Settings by name; from a file, lists may stand for tuples.

    Example:
        >>> idle_settings({"kind": "mlp", "memory_size": 32, "hidden": (8,)})
        ['memory_size']
    """
    kind = given.get("kind", "auto")
    own = isinstance(kind, str) and ":" in kind
    if not own and kind not in _BUILT_IN:
        return []  # a name that nobody knows, or that somebody registered
    with_heads = own and bool(given.get("shared"))
    found = []
    for name, default in _DEFAULTS.items():
        value = given.get(name, default)
        differs = (tuple(value) if isinstance(value, list) else value) != default
        has = (OWN if own else kind) in KINDS_WITH[name] or (with_heads and name in _OF_HEADS)
        if differs and not has:
            found.append(name)
    return found


_DEFAULTS = {
    field.name: {} if field.name == "options" else field.default
    for field in dataclasses.fields(NetworkConfig)
    if field.name in KINDS_WITH
}
