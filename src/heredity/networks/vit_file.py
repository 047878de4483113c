"""Files of Vision Transformers from other libraries: what they are, read from the files alone."""

from __future__ import annotations

import dataclasses
import functools
import json
import math
import reprlib
from collections.abc import Mapping
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from heredity.common.errors import MismatchError, RefusedError, UsageError
from heredity.common.reading import FileState, hash_beside, read_text
from heredity.common.tensors import StoredTensor, stored_tensors
from heredity.networks.vit import VitOptions
from heredity.networks.vit_layouts import LAYOUTS, VitLayout, layout_of
from heredity.weights import Params, Rule, WeightReport, flatten, inject
from heredity.weights.rules import drop

_MOST_JSON = 2**20  # bytes of a config.json
# Heads cannot be read from shapes. These are the models that torchvision has.
_TORCHVISION_HEADS = {768: 12, 1024: 16, 1280: 16}
_RESAMPLING = {2: "bilinear", 3: "bicubic"}  # as PIL counts them


@dataclasses.dataclass(frozen=True)
class VitFile:
    """A Vision Transformer that another library wrote.

    Args:
        path: Of the file with the weights.
        state: Of the file when it was read.
        layout: Whose names it has.
        prefix: What stands before each of them.
        tensors: Its arrays by name; `np.asarray` reads one.
        options: `VitOptions` of the encoder and its preprocessing, which are settings of the
            network kind ``vit`` as well.
        notes: What was not said by the file, and taken for what the library's own models have.
    """

    path: Path
    state: FileState
    layout: VitLayout
    prefix: str
    tensors: Mapping[str, StoredTensor]
    options: Mapping[str, Any]
    notes: tuple[str, ...] = ()

    @functools.cached_property
    def _digest(self) -> Future[str]:
        return hash_beside(self.path, self.state)

    @property
    def sha256(self) -> str:
        """Of the bytes of the file, which takes as long as to read the weights.

        Raises:
            RefusedError: when the file was changed since it was read.
        """
        return self._digest.result()

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of patches that its position embeddings are of."""
        height, width = self.options["picture_size"]
        return height // self.options["patch"], width // self.options["patch"]

    def rules(self, grid: tuple[int, int] | None = None) -> tuple[Rule, ...]:
        """From its names to our paths below ``encoder``.

        Args:
            grid: Rows and columns of patches of the encoder; None for the file's own.
        """
        outside = [name for name in self.tensors if not name.startswith(self.prefix)]
        return (*drop(*outside), *self.layout.rules(self.prefix, (self.grid, grid or self.grid)))

    def inject(
        self,
        params: Params,
        into: str = "encoder",
        grid: tuple[int, int] | None = None,
        *,
        donate: bool = False,
    ) -> tuple[Params, WeightReport]:
        """Put its weights into an encoder; see `heredity.inject`.

        Args:
            params: All weights.
            into: Folder of the encoder, such as ``trunk/encoder``.
            grid: Rows and columns of patches of that encoder; None for the file's own.
            donate: Whether `params` may be overwritten, as in `heredity.inject`.

        Returns:
            The new weights, and the report; position embeddings for another grid are ``resized``.

        Raises:
            MismatchError: when the encoder is another one.
        """
        digest = self._digest  # its thread works while the weights are put in their place
        self._check_grid(params, into, grid or self.grid)
        rules = self.rules(grid)
        params, report = inject(params, self.tensors, rules, into=into, donate=donate)
        told = f"{self.path.name} in the layout {self.layout.name}, sha256 {digest.result()}"
        return params, dataclasses.replace(report, notes=(*report.notes, told, *self.notes))

    def _check_grid(self, params: Params, into: str, grid: tuple[int, int]) -> None:
        positions = f"{into}/positions".lstrip("/")
        there = flatten(params).get(positions)
        if there is None or there.ndim != 3 or there.shape[1] == 1 + grid[0] * grid[1]:
            return
        raise MismatchError(
            f"{positions} is of {there.shape[1] - 1} patches, not of {grid[0]} x {grid[1]}",
            "Give the rows and columns of patches of the encoder: "
            f"inject(params, {into!r}, (rows, columns))",
        )


def read_vit(path: str | Path, *, heads: int | None = None) -> VitFile:
    """Read a Vision Transformer of Hugging Face (ViT, DINOv2) or torchvision, without torch.

    Sizes follow from the shapes. The number of heads does not: it is taken from `heads`, from the
    ``config.json`` beside the file, or, for the widths of torchvision's own models, from those. The
    preprocessing is that of the ``preprocessor_config.json`` beside it; without one, that of the
    library's own models, which `VitFile.notes` then says.

    Args:
        path: Of a safetensors file, or of a folder with a ``model.safetensors``.
        heads: Of attention.

    Raises:
        RefusedError: when it is torn, of no known layout, or of a model that this encoder is not.
        UsageError: when nothing says how many heads there are.
    """
    path = Path(path)
    if path.is_dir():
        path = path / "model.safetensors"
    tensors, state = stored_tensors(path)
    found = layout_of(list(tensors))
    if found is None:
        raise RefusedError(
            path,
            f"has no Vision Transformer that is known; its names begin with {_beginning(tensors)}",
            f"Known layouts are {', '.join(LAYOUTS)}; for another one give rules to inject",
        )
    layout, prefix = found
    config = _json_beside(path, "config.json")
    _check_config(path, layout, config)
    sizes = _sizes(path, layout, prefix, tensors, config)
    _check_sizes(path, layout, sizes, config)
    notes: list[str] = []
    sizes["heads"] = _heads(path, layout, sizes["width"], config, heads)
    epsilon = config.get("layer_norm_eps", layout.norm_epsilon)
    if not _is_number(epsilon):
        raise RefusedError(path.parent / "config.json", f"has layer_norm_eps {epsilon!r}")
    sizes["norm_epsilon"] = float(epsilon)
    if layout.name != "torchvision" and "layer_norm_eps" not in config:
        notes.append(f"norm_epsilon {layout.norm_epsilon:g}: not told, that of {layout.name}")
    processing = _preprocessing(path, layout, sizes["picture_size"], notes)
    try:
        options = VitOptions(hidden=(), **sizes, **processing)
    except (TypeError, UsageError) as error:
        raise RefusedError(path, f"is no encoder that can be built ({error})") from None
    told = {**sizes, **processing}
    options = {name: getattr(options, name) for name in told}
    return VitFile(path, state, layout, prefix, tensors, options, tuple(notes))


def _beginning(tensors: Mapping[str, StoredTensor]) -> str:
    names = sorted(tensors)[:3]
    return ", ".join(name[:80] for name in names) or "nothing"


def _json_beside(path: Path, name: str) -> dict[str, Any]:
    """A JSON object in the folder of a file; {} where there is none."""
    place = path.parent / name
    if not place.exists():
        return {}
    try:
        value = json.loads(read_text(place, _MOST_JSON))
    except (ValueError, RecursionError) as error:
        raise RefusedError(place, f"is not JSON ({error})") from None
    if not isinstance(value, dict):
        raise RefusedError(place, "is no JSON object")
    return value


def _check_config(path: Path, layout: VitLayout, config: Mapping[str, Any]) -> None:
    """See that the model computes what this encoder computes.

    Raises:
        RefusedError: naming what it does otherwise.
    """
    expected = {
        "hidden_act": ("gelu",),
        "use_swiglu_ffn": (False,),
        "qkv_bias": (True,),
        "model_type": ("vit",) if layout.name == "hugging_face_vit" else ("dinov2",),
    }
    if layout.name == "torchvision":
        return  # such a file has no config.json of its own
    for name, values in expected.items():
        if name in config and config[name] not in values:
            raise RefusedError(
                path.parent / "config.json",
                f"has {name} {config[name]!r}: this encoder has {values[0]!r}",
                "Write a network of your own for it, and give rules to inject",
            )


def _sizes(
    path: Path,
    layout: VitLayout,
    prefix: str,
    tensors: Mapping[str, StoredTensor],
    config: Mapping[str, Any],
) -> dict[str, Any]:
    """What the shapes say."""

    def shape(name: str, axes: int) -> tuple[int, ...]:
        found = tensors.get(prefix + name)
        if found is None:
            raise MismatchError(f"{prefix}{name} is missing", path=path)
        if found.ndim != axes or not found.size:
            raise MismatchError(
                f"{prefix}{name} has shape {list(found.shape)}, {axes} axes were expected",
                path=path,
            )
        return found.shape

    width, channels, patch, other = shape(f"{layout.patches}.weight", 4)
    if patch != other:
        raise MismatchError(f"patches are {patch} x {other}, squares were expected", path=path)
    tokens = shape(layout.positions, 3)[1]
    depth = 0
    while prefix + layout.of_block(depth, layout.sign) in tensors:
        depth += 1
    sizes = {
        "patch": patch,
        "width": width,
        "depth": depth,
        "mlp_width": shape(layout.of_block(0, f"{layout.mlp[0]}.weight"), 2)[0],
        # Where there are such weights, what they begin as does not matter.
        "layer_scale": 1.0 if layout.scales else 0.0,
        "picture_channels": channels,
    }
    grid = _grid(path, tokens - 1, patch, config if layout.name != "torchvision" else {})
    return {**sizes, "picture_size": tuple(side * patch for side in grid)}


def _check_sizes(
    path: Path, layout: VitLayout, sizes: Mapping[str, Any], config: Mapping[str, Any]
) -> None:
    """See that the JSON beside the weights speaks of these weights, as far as it says sizes."""
    if layout.name == "torchvision":
        return  # such a file has no config.json of its own
    for name, ours in _SIZES_TOLD.items():
        told = config.get(name, sizes[ours])
        if told != sizes[ours]:
            raise RefusedError(
                path.parent / "config.json",
                f"has {name} {told!r}, the weights beside it have {sizes[ours]!r}",
                "They belong to two models: take both from one place",
            )


_SIZES_TOLD = {
    "patch_size": "patch",
    "hidden_size": "width",
    "num_hidden_layers": "depth",
    "intermediate_size": "mlp_width",
    "num_channels": "picture_channels",
}


def _grid(path: Path, patches: int, patch: int, config: Mapping[str, Any]) -> tuple[int, int]:
    side = math.isqrt(max(patches, 0))
    told = config.get("image_size")
    if isinstance(told, list) and len(told) == 2 and all(isinstance(s, int) for s in told):
        rows, columns = (size // patch for size in told)
        if rows * columns == patches and min(rows, columns) > 0:
            return rows, columns
    if side < 1 or side * side != patches:
        raise MismatchError(
            f"has position embeddings of {patches} patches, which are no square, and no "
            "config.json beside it says which rectangle they are",
            path=path,
        )
    return side, side


def _heads(
    path: Path, layout: VitLayout, width: int, config: Mapping[str, Any], given: int | None
) -> int:
    if layout.name == "torchvision":
        found = _TORCHVISION_HEADS.get(width)
    else:
        found = config.get("num_attention_heads")
    if given is not None:
        if layout.name != "torchvision" and found not in (None, given):
            raise UsageError(
                f"heads {given!r}: the config.json beside {path} says num_attention_heads "
                f"{found!r}; leave heads out"
            )
        return given
    if isinstance(found, bool) or not isinstance(found, int):
        raise UsageError(
            f"{path} does not say how many heads its attention has, and neither does a "
            "config.json beside it: give heads (--network.heads)"
        )
    return found


def _preprocessing(
    path: Path, layout: VitLayout, picture_size: tuple[int, int], notes: list[str]
) -> dict[str, Any]:
    """Resize, mean and std, from the file of a processor or from the library."""
    told = _json_beside(path, "preprocessor_config.json") if layout.name != "torchvision" else {}
    place = path.parent / "preprocessor_config.json"
    if not told:
        notes.append(
            f"picture_mean {_listed(layout.mean)}, picture_std {_listed(layout.std)}, "
            f"picture_resize {layout.resize}: not told, those of {layout.name}"
        )
        return {
            "picture_mean": layout.mean,
            "picture_std": layout.std,
            "picture_resize": layout.resize,
        }
    scaled = told.get("do_rescale", True), told.get("rescale_factor", 1 / 255)
    if scaled[0] is not True:
        told = f"has do_rescale {scaled[0]!r}: this encoder reads pixels divided by 255"
        raise RefusedError(place, told)
    if not _is_number(scaled[1]) or abs(scaled[1] * 255 - 1) > 1e-6:
        raise RefusedError(place, f"has rescale_factor {scaled[1]!r}: 1/255 was expected")
    resample = told.get("resample", 2)
    if not isinstance(resample, int) or resample not in _RESAMPLING:
        raise RefusedError(place, f"has resample {resample!r}: 2 or 3 was expected")
    found: dict[str, Any] = {"picture_resize": _RESAMPLING[resample]}
    others = _not_followed(told, picture_size)
    if others:
        size = " x ".join(map(str, picture_size))
        notes.append(f"{others}: not followed, whole pictures are resized to {size}")
    if told.get("do_normalize", True) is False:
        return {**found, "picture_mean": (0.0,), "picture_std": (1.0,)}
    for name in ("mean", "std"):
        values = told.get(f"image_{name}", getattr(layout, name))
        if not isinstance(values, list | tuple) or not all(_is_number(v) for v in values):
            raise RefusedError(place, f"has image_{name} {values!r}: a list of numbers needed")
        found[f"picture_{name}"] = tuple(float(value) for value in values)
    return found


def _not_followed(told: Mapping[str, Any], picture_size: tuple[int, int]) -> str:
    """What a processor says of resizing and cropping that the encoder does otherwise."""
    height, width = picture_size
    same = ({"height": height, "width": width}, height if height == width else None)
    found = {}
    if told.get("do_resize", True) is not True:
        found["do_resize"] = told["do_resize"]
    elif told.get("size", same[0]) not in same:
        found["size"] = told["size"]
    if told.get("do_center_crop", False) is not False:
        found |= {name: told.get(name) for name in ("do_center_crop", "crop_size")}
    return ", ".join(f"{name} {reprlib.repr(value)}" for name, value in found.items())


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _listed(values: tuple[float, ...]) -> str:
    return " ".join(f"{value:g}" for value in values)
