"""Vision Transformers small enough to be compiled in no time, in another library's layout."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

WIDTH, MLP, PATCH, PATCHES = 8, 12, 4, 9


def write_tiny_vit(folder: Path, seed: int = 0) -> Path:
    """A folder as Hugging Face's: one block, two heads, 3 x 3 patches, random weights."""
    block = "encoder.layer.0."
    shapes = {
        "embeddings.cls_token": (1, 1, WIDTH),
        "embeddings.position_embeddings": (1, 1 + PATCHES, WIDTH),
        "embeddings.patch_embeddings.projection": (WIDTH, 3, PATCH, PATCH),
        "layernorm": (WIDTH,),
        f"{block}layernorm_before": (WIDTH,),
        f"{block}layernorm_after": (WIDTH,),
        f"{block}attention.attention.query": (WIDTH, WIDTH),
        f"{block}attention.attention.key": (WIDTH, WIDTH),
        f"{block}attention.attention.value": (WIDTH, WIDTH),
        f"{block}attention.output.dense": (WIDTH, WIDTH),
        f"{block}intermediate.dense": (MLP, WIDTH),
        f"{block}output.dense": (WIDTH, MLP),
    }
    draw = np.random.default_rng(seed)
    tensors = {}
    for name, shape in shapes.items():
        is_layer = not name.startswith("embeddings.") or name.endswith("projection")
        tensors[f"{name}.weight" if is_layer else name] = draw.normal(size=shape)
        if is_layer:
            tensors[f"{name}.bias"] = draw.normal(size=shape[0])
    folder.mkdir(parents=True, exist_ok=True)
    rounded = {name: array.astype(np.float32) for name, array in tensors.items()}
    save_file(rounded, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps({"num_attention_heads": 2}))
    return folder
