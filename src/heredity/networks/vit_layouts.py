"""How other libraries name the weights of a Vision Transformer, as rules to our paths."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

from heredity.networks.positions import resized_positions
from heredity.weights import Rule
from heredity.weights.report import APPROXIMATE
from heredity.weights.rules import AS_IS, LINEAR, Layout, conv, drop, linear, norm

_IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


@dataclasses.dataclass(frozen=True)
class VitLayout:
    """The names of one library.

    Every name may stand behind a prefix, where a model is a part of another one.

    Args:
        name: Of the layout.
        block: What the names of block ``{i}`` begin with.
        sign: A name within block 0 that no other layout has.
        patches: The convolution that makes patches into tokens.
        class_token: The class token.
        positions: The position embeddings.
        norm: The last norm.
        norms: The norms of a block, before attention and before the MLP.
        projections: Query, key and value of a block; or the one array that holds all three.
        attention_output: The layer behind attention.
        mlp: Both layers of a block's MLP.
        scales: The two layer scales of a block; () where it has none.
        unused: Patterns of what a model has besides the encoder.
        norm_epsilon: Of the library's own models.
        mean: Of the pictures that these were trained with.
        std: Of the same.
        resize: How their pictures were resized.
    """

    name: str
    block: str
    sign: str
    patches: str
    class_token: str
    positions: str
    norm: str
    norms: tuple[str, str]
    projections: tuple[str, ...]
    attention_output: str
    mlp: tuple[str, str]
    unused: tuple[str, ...]
    norm_epsilon: float
    scales: tuple[str, ...] = ()
    mean: tuple[float, ...] = _IMAGENET[0]
    std: tuple[float, ...] = _IMAGENET[1]
    resize: Literal["bilinear", "bicubic"] = "bilinear"

    def of_block(self, index: int | str, name: str) -> str:
        """The name of something in a block."""
        return self.block.format(i=index) + name

    def prefix(self, names: Iterable[str]) -> str | None:
        """What stands before every name of a file; None where it is not of this layout."""
        sign = self.of_block(0, self.sign)
        found = [name.removesuffix(sign) for name in names if name.endswith(sign)]
        return found[0] if len(found) == 1 and found[0][-1:] in ("", ".") else None

    def rules(
        self,
        prefix: str = "",
        grids: tuple[tuple[int, int], tuple[int, int]] | None = None,
    ) -> tuple[Rule, ...]:
        """From the names of a file to our paths below ``encoder``.

        Args:
            prefix: What stands before every name.
            grids: Rows and columns of patches in the file, and of the encoder that is wanted;
                None for equal ones.
        """
        rules: list[Rule] = list(drop(*(prefix + pattern for pattern in self.unused)))
        rules += conv(prefix + self.patches, "patches")
        rules.append(Rule(prefix + self.class_token, "class_token"))
        layout = AS_IS if grids is None or grids[0] == grids[1] else _resizing(*grids)
        rules.append(Rule(prefix + self.positions, "positions", layout))
        rules += norm(prefix + self.norm, "norm")
        block = prefix + self.of_block("{i}", "")
        for name, ours in zip(self.norms, ("attention_norm", "mlp_norm"), strict=True):
            rules += norm(block + name, f"block_{{i}}/{ours}")
        for name, ours in zip(self.scales, ("attention_scale", "mlp_scale"), strict=False):
            rules.append(Rule(block + name, f"block_{{i}}/{ours}"))
        rules += self._attention(block)
        rules += linear(block + self.attention_output, "block_{i}/attention/output")
        for name, ours in zip(self.mlp, ("hidden", "output"), strict=True):
            rules += linear(block + name, f"block_{{i}}/mlp/{ours}")
        return tuple(rules)

    def _attention(self, block: str) -> list[Rule]:
        ours = [f"block_{{i}}/attention/{name}" for name in ("query", "key", "value")]
        if len(self.projections) == 3:
            each = zip(self.projections, ours, strict=True)
            return [rule for name, path in each for rule in linear(block + name, path)]
        (fused,) = self.projections
        kernels, biases = (tuple(f"{path}/{leaf}" for path in ours) for leaf in ("kernel", "bias"))
        return [
            Rule(f"{block}{fused}weight", kernels, LINEAR),
            Rule(f"{block}{fused}bias", biases),
        ]


def _resizing(old: tuple[int, int], new: tuple[int, int]) -> Layout:
    told = f"bicubic, {old[0]} x {old[1]} to {new[0]} x {new[1]} patches"
    return Layout(
        told,
        "resized",
        lambda positions: resized_positions(positions, old, new),
        (3,),
        APPROXIMATE,
    )


_HUGGING_FACE = {
    "block": "encoder.layer.{i}.",
    "patches": "embeddings.patch_embeddings.projection",
    "class_token": "embeddings.cls_token",
    "positions": "embeddings.position_embeddings",
    "norm": "layernorm",
    "projections": tuple(f"attention.attention.{name}" for name in ("query", "key", "value")),
    "attention_output": "attention.output.dense",
}
LAYOUTS: Mapping[str, VitLayout] = {
    layout.name: layout
    for layout in (
        VitLayout(
            name="hugging_face_vit",
            sign="layernorm_before.weight",
            norms=("layernorm_before", "layernorm_after"),
            mlp=("intermediate.dense", "output.dense"),
            unused=("pooler.{*rest}", "embeddings.mask_token"),
            norm_epsilon=1e-12,
            mean=(0.5,) * 3,
            std=(0.5,) * 3,
            **_HUGGING_FACE,
        ),
        VitLayout(
            name="hugging_face_dinov2",
            sign="layer_scale1.lambda1",
            norms=("norm1", "norm2"),
            mlp=("mlp.fc1", "mlp.fc2"),
            scales=("layer_scale1.lambda1", "layer_scale2.lambda1"),
            unused=("embeddings.mask_token",),
            norm_epsilon=1e-6,
            resize="bicubic",
            **_HUGGING_FACE,
        ),
        VitLayout(
            name="torchvision",
            block="encoder.layers.encoder_layer_{i}.",
            sign="self_attention.in_proj_weight",
            patches="conv_proj",
            class_token="class_token",
            positions="encoder.pos_embedding",
            norm="encoder.ln",
            norms=("ln_1", "ln_2"),
            projections=("self_attention.in_proj_",),
            attention_output="self_attention.out_proj",
            mlp=("mlp.0", "mlp.3"),
            unused=("heads.{*rest}",),
            norm_epsilon=1e-6,
        ),
    )
}


def layout_of(names: Sequence[str]) -> tuple[VitLayout, str] | None:
    """The layout of a file with these names, and their prefix; None where none fits.

    Example:
        >>> found = layout_of(["vit.encoder.layer.0.layernorm_before.weight"])
        >>> found and (found[0].name, found[1])
        ('hugging_face_vit', 'vit.')
    """
    for layout in LAYOUTS.values():
        prefix = layout.prefix(names)
        if prefix is not None:
            return layout, prefix
    return None
