"""The settings of a pretrained encoder. Importing this loads no numerical library."""

from __future__ import annotations

import dataclasses
import os
from typing import Any, Literal

from heredity.common.errors import UsageError
from heredity.common.fields import Scalar, check_fields


@dataclasses.dataclass(frozen=True)
class EncoderConfig:
    """Whose encoder the world model has.

    Args:
        weights: Of a Vision Transformer that encodes pictures in place of DreamerV3's own
            convolutions: a safetensors file of Hugging Face (ViT, DINOv2) or torchvision, or a
            folder with a ``model.safetensors``. It is read once, when the run begins; default:
            none, the encoder is DreamerV3's own.
        heads: Of its attention; default: what the config.json beside the weights says.
        pooling: What is made of its tokens: class (the class token) or mean (of all patches);
            default: class.
        picture_size: Height and width that it resizes pictures to, multiples of its patch; default:
            that of the weights.
        dtype: What it computes in; default: what everything else does.
        options: All that is to be known of it: of `weights` filled in when the run begins. Given
            without weights, as ``read_vit(file).options`` has them, for a run whose first weights
            come from elsewhere.
    """

    weights: str | None = None
    heads: int | None = None
    pooling: Literal["class", "mean"] | None = None
    picture_size: tuple[int, ...] = ()
    dtype: Literal["float32", "bfloat16"] | None = None
    options: dict[str, Scalar | tuple[Scalar, ...]] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        if isinstance(self.weights, os.PathLike):
            object.__setattr__(self, "weights", os.fspath(self.weights))
        check_fields(self)
        if self.weights == "":
            raise UsageError("encoder weights '': the path of a file was expected, or none")
        idle = {**self.given(), **({"dtype": self.dtype} if self.dtype else {})}
        if self.weights is None and not self.options and idle:
            name, value = next(iter(idle.items()))
            raise UsageError(
                f"encoder {name} {value!r} is for pretrained weights, and there are none: give "
                "encoder weights, or leave it out"
            )

    @property
    def is_vit(self) -> bool:
        """Whether it is a Vision Transformer, and not DreamerV3's own encoder."""
        return self.weights is not None or bool(self.options)

    def given(self) -> dict[str, Any]:
        """What is said of the network beside its file."""
        said = {name: getattr(self, name) for name in ("heads", "pooling", "picture_size")}
        return {name: value for name, value in said.items() if value not in (None, ())}
