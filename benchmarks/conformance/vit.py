"""Small Vision Transformers of the original libraries: their files, and what they make of pictures.

Needs, installed by hand: ``torch==2.13.0 transformers==5.23.0 torchvision==0.28.0 safetensors``.
Run it as ``python benchmarks/conformance/vit.py [FOLDER]``; see README.md beside it.

Each model has random weights, larger than those of a fresh one, so that every bias, norm and layer
scale shows in what comes out. Its file is written by the library that it is of.
"""

from __future__ import annotations

import importlib.metadata
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch.nn import functional

# PyPI's torchvision brings operators for a torch with CUDA: beside one without they are missing,
# and it refuses to be imported. No transformer uses them. They live as long as this object does.
OPERATORS = torch.library.Library("torchvision", "FRAGMENT")
for _operator in ("nms", "qnms"):
    OPERATORS.define(f"{_operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")

FOLDER = Path(__file__).resolve().parents[2] / "tests" / "fixtures" / "vit"
WIDTH, DEPTH, HEADS, MLP, SIDE, PATCH = 32, 2, 4, 64, 32, 8
WIDER = (48, 24)  # another resolution, and no square
MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]


def randomise(model: torch.nn.Module, seed: int) -> None:
    """Weights that leave nothing near 0 or 1 by chance of initialisation."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            around = 1.0 if weight.ndim == 1 and "bias" not in name else 0.0
            weight.copy_(around + 0.2 * torch.randn(weight.shape, generator=generator))


def pictures(seed: int, size: tuple[int, int]) -> np.ndarray:
    """Three smooth pictures of bytes, (3, height, width, 3)."""
    draw = np.random.default_rng(seed)
    rough = torch.from_numpy(draw.random((3, 3, 5, 5)))
    smooth = functional.interpolate(rough, size=size, mode="bilinear", align_corners=False)
    noisy = smooth.permute(0, 2, 3, 1).numpy() * 235 + draw.random((3, *size, 3)) * 20
    return noisy.astype(np.uint8)


def as_input(seen: np.ndarray, size: tuple[int, int], mode: str, mean: Any, std: Any) -> Any:
    """Bytes as the models take them: scaled, resized with antialiasing, normalised."""
    x = torch.from_numpy(seen).permute(0, 3, 1, 2).float() / 255
    if seen.shape[1:3] != size:
        x = functional.interpolate(x, size=size, mode=mode, align_corners=False, antialias=True)
    return (x - torch.tensor(mean)[:, None, None]) / torch.tensor(std)[:, None, None]


def hugging_face(kind: str, seed: int, folder: Path) -> dict[str, torch.Tensor]:
    """Write a model of transformers, and return what it makes of pictures."""
    from transformers import Dinov2Config, Dinov2Model, ViTConfig, ViTModel

    common: dict[str, Any] = {
        "hidden_size": WIDTH,
        "num_hidden_layers": DEPTH,
        "num_attention_heads": HEADS,
        "image_size": SIDE,
        "patch_size": PATCH,
    }
    if kind == "vit":
        model: Any = ViTModel(ViTConfig(**common, intermediate_size=MLP))
        processor = {"image_mean": [0.5] * 3, "image_std": [0.5] * 3, "resample": 2}
    else:
        model = Dinov2Model(Dinov2Config(**common, mlp_ratio=MLP // WIDTH))
        processor = {"image_mean": MEAN, "image_std": STD, "resample": 3}
    model.eval()
    randomise(model, seed)
    model.save_pretrained(folder)
    told = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(told, indent=1, sort_keys=True) + "\n")
    processor |= {"do_rescale": True, "rescale_factor": 1 / 255, "do_normalize": True}
    (folder / "preprocessor_config.json").write_text(json.dumps(processor, indent=1) + "\n")
    mode = {2: "bilinear", 3: "bicubic"}[processor["resample"]]
    found = {}
    cases = {"same": (SIDE, SIDE), "wider": WIDER, "resized": (45, 60)}
    for index, (name, size) in enumerate(cases.items()):
        seen = pictures(100 * seed + index, size)
        aim = (SIDE, SIDE) if name == "resized" else size
        x = as_input(seen, aim, mode, processor["image_mean"], processor["image_std"])
        interpolated = {"interpolate_pos_encoding": True} if kind == "vit" else {}
        tokens = model(x, **interpolated).last_hidden_state
        found |= {f"{name}/pictures": torch.from_numpy(seen), f"{name}/tokens": tokens}
    # Of the sizes alone, those of a larger and of a smaller grid.
    for size in (WIDER, (SIDE // 2, SIDE), (8 * SIDE, 7 * SIDE)):
        patches = size[0] // PATCH * (size[1] // PATCH)
        blank = torch.zeros(1, patches + 1, WIDTH)
        positions = model.embeddings.interpolate_pos_encoding(blank, *size)
        found[f"positions/{size[0]}x{size[1]}"] = positions
    return found


def torchvision_model(seed: int, folder: Path) -> dict[str, torch.Tensor]:
    """Write a model of torchvision, and return what it makes of pictures."""
    from torchvision.models.vision_transformer import VisionTransformer

    model = VisionTransformer(SIDE, PATCH, DEPTH, HEADS, WIDTH, MLP, num_classes=5).eval()
    randomise(model, seed)
    save_file(model.state_dict(), folder / "model.safetensors", {"format": "pt"})
    seen = pictures(100 * seed, (SIDE, SIDE))
    x = as_input(seen, (SIDE, SIDE), "bilinear", MEAN, STD)
    embedded = torch.cat([model.class_token.expand(3, -1, -1), model._process_input(x)], dim=1)
    tokens = model.encoder(embedded)
    if not torch.allclose(model.heads(tokens[:, 0]), model(x)):
        raise AssertionError("these are not the tokens that the model itself computes")
    return {"same/pictures": torch.from_numpy(seen), "same/tokens": tokens}


def main(folder: Path) -> None:
    """Make all fixtures anew."""
    versions = ("torch", "transformers", "torchvision")
    # One entry: the library writes several in any order.
    told = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in versions)
    made_by = {"made_by": told}
    for seed, kind in enumerate(("vit", "dinov2", "torchvision"), 1):
        place = folder / kind
        place.mkdir(parents=True, exist_ok=True)
        with torch.no_grad():
            if kind == "torchvision":
                found = torchvision_model(seed, place)
            else:
                found = hugging_face(kind, seed, place)
        found = {name: value.contiguous() for name, value in found.items()}
        save_file(found, place / "expected.safetensors", made_by)
        size = sum(path.stat().st_size for path in place.iterdir())
        print(f"{place}: {size / 1024:.0f} KiB")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER)
