"""A file as large as a ViT-B in the layout of Hugging Face, and how a loading of it is measured."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

WIDTH, DEPTH, HEADS, MLP, PATCH, SIDE = 768, 12, 12, 3072, 16, 224


def write(folder: Path, *, depth: int = DEPTH) -> None:
    """Random weights under the names of `ViTModel`, and its config.json."""
    block = "encoder.layer.{i}."
    layers = {
        f"{block}attention.attention.query": (WIDTH, WIDTH),
        f"{block}attention.attention.key": (WIDTH, WIDTH),
        f"{block}attention.attention.value": (WIDTH, WIDTH),
        f"{block}attention.output.dense": (WIDTH, WIDTH),
        f"{block}intermediate.dense": (MLP, WIDTH),
        f"{block}output.dense": (WIDTH, MLP),
        f"{block}layernorm_before": (WIDTH,),
        f"{block}layernorm_after": (WIDTH,),
    }
    shapes: dict[str, tuple[int, ...]] = {
        "embeddings.cls_token": (1, 1, WIDTH),
        "embeddings.position_embeddings": (1, 1 + (SIDE // PATCH) ** 2, WIDTH),
    }
    others = {
        "embeddings.patch_embeddings.projection": (WIDTH, 3, PATCH, PATCH),
        "layernorm": (WIDTH,),
    }
    for index in range(depth):
        others |= {name.format(i=index): shape for name, shape in layers.items()}
    for name, shape in others.items():
        shapes |= {f"{name}.weight": shape, f"{name}.bias": shape[:1]}
    draw = np.random.default_rng(0)
    tensors = {n: draw.standard_normal(shape, np.float32) for n, shape in shapes.items()}
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    config = {
        "model_type": "vit",
        "hidden_size": WIDTH,
        "num_hidden_layers": depth,
        "num_attention_heads": HEADS,
        "intermediate_size": MLP,
        "image_size": SIDE,
        "patch_size": PATCH,
    }
    (folder / "config.json").write_text(json.dumps(config))


def measured(library: str, load: Callable[[], Any]) -> dict[str, Any]:
    """Seconds of a loading, and how far the memory of this process rose above what it was.

    Args:
        library: Its name and version.
        load: What is measured.
    """
    before = _status("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the highest mark begins anew
    began = time.perf_counter()
    load()
    seconds = time.perf_counter() - began
    risen = _status("VmHWM") - before
    return {"library": library, "seconds": seconds, "megabytes": risen / 1024}


def _status(name: str) -> int:
    """A line of what Linux says of this process, in KiB."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1])
    raise RuntimeError(f"/proc/self/status has no {name}")
