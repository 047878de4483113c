"""A Vision Transformer from another library's file, frozen inside of a PPO policy on pixels.

Run with ``python examples/pretrained_vit.py``. The file has the layout of Hugging Face. Its weights
are drawn here, so that nothing has to be downloaded: a file of a trained model is read in the same
way. Everything lands in ``runs/pretrained_vit``.
"""

from __future__ import annotations

import json
import shutil
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

import heredity as hd
from heredity.common.words import in_words
from heredity.networks import VitFile, read_vit
from heredity.weights import Params, WeightReport, content_hash, flatten, inject, subtree

PLACE = Path("runs/pretrained_vit")
ENCODER = "trunk/encoder"  # where the encoder of a shared trunk is, in the weights of a policy
GRID = (3, 3)  # patches of the pictures that are read here; the file was made for 4 x 4
SIZES = {"picture_size": (12, 12)}
NETWORK: dict[str, Any] = {"kind": "vit", "shared": True, "hidden": (64,), **SIZES}
PPO = {"num_envs": 64, "num_steps": 20, "learning_rate": 2e-3, "freeze": (f"{ENCODER}/**",)}


def say(line: str) -> None:
    """A heading; bold where a person looks."""
    bold = "\033[1m{}\033[0m" if sys.stdout.isatty() else "{}"
    print(f"\n{bold.format(line)}", flush=True)


def write_file(
    folder: Path, width: int = 32, mlp: int = 64, depth: int = 2, patch: int = 4
) -> None:
    """A model as Hugging Face's library saves one: its names, its layout, its config.json."""
    draw = np.random.default_rng(0)
    tensors: dict[str, np.ndarray] = {
        "embeddings.cls_token": draw.normal(size=(1, 1, width)),
        "embeddings.position_embeddings": draw.normal(0, 0.5, (1, 17, width)),
    }

    def layer(name: str, *shape: int) -> None:
        scale = 2.0 * np.prod(shape[1:]) ** -0.5
        tensors[f"{name}.weight"] = draw.normal(0, scale, shape)
        tensors[f"{name}.bias"] = draw.normal(0, 0.1, shape[0])

    def norm(name: str) -> None:
        tensors[f"{name}.weight"], tensors[f"{name}.bias"] = np.ones(width), np.zeros(width)

    layer("embeddings.patch_embeddings.projection", width, 3, patch, patch)
    for index in range(depth):
        block = f"encoder.layer.{index}"
        norm(f"{block}.layernorm_before")
        for name in ("query", "key", "value"):
            layer(f"{block}.attention.attention.{name}", width, width)
        layer(f"{block}.attention.output.dense", width, width)
        norm(f"{block}.layernorm_after")
        layer(f"{block}.intermediate.dense", mlp, width)
        layer(f"{block}.output.dense", width, mlp)
    norm("layernorm")
    # Of their classifier; it is left out, and the report says so.
    layer("pooler.dense", width, width)
    folder.mkdir(parents=True)
    rounded = {name: array.astype(np.float32) for name, array in tensors.items()}
    save_file(rounded, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps({"model_type": "vit", "num_attention_heads": 4}))


def first_weights(**network_and_hook: Any) -> Params:
    """The weights that a run begins with: its first event is before anything was learnt."""
    model = hd.PPO("probe/catch", **network_and_hook, **PPO)
    first = next(iter(model.run(10_000, snapshot_every=10_000, evaluation_episodes=0)))
    return first.policy.params


def three_ways(file: VitFile) -> list[Params]:
    """The same first weights, made in three ways."""
    # 1. At construction: the settings of the network name the file. Sizes and preprocessing are the
    #    file's.
    named = first_weights(network={**NETWORK, "weights": str(file.path)})

    # 2. Through a hook, which gets the fresh weights and gives them back changed. The network is
    #    described as the file describes it.
    def put_in(params: Params) -> tuple[Params, WeightReport]:
        return file.inject(params, ENCODER, GRID)

    described = {**file.options, **NETWORK}
    hooked = first_weights(network=described, post_init=put_in)

    # 3. Into weights that are there already, by path: of any policy, whoever made it.
    fresh = first_weights(network=described)
    into, report = inject(fresh, file.tensors, file.rules(GRID), into=ENCODER)
    for row in report.rows:
        if row.action not in ("kept", "copied"):
            print(f"{row.action:<10}  {row.path:<41}  {row.note}")
    print(report.summary())
    return [named, hooked, into]


def main(steps: int = 24_000) -> None:
    began = time.monotonic()
    shutil.rmtree(PLACE, ignore_errors=True)
    write_file(PLACE / "library")
    file = read_vit(PLACE / "library")

    say("A file in another library's layout")
    print(f"{file.path}: {file.layout.name}, sha256 {file.sha256[:12]}…")
    print("what its shapes, and the JSON beside it, say:")
    for name, value in file.options.items():
        print(f"  {name.replace('_', ' '):<17} {in_words(value)}")

    say("Three ways to put it into a policy")
    ways = three_ways(file)
    hashes = [content_hash(params) for params in ways]
    for way, policy_hash in zip(("at construction", "by a hook", "by path"), hashes, strict=True):
        print(f"{way:<16} {policy_hash}")
    if len(set(hashes)) != 1:
        raise SystemExit("the three ways gave different numbers")

    say("Training around the frozen encoder: the paddle has to catch a ball, seen as a picture")
    model = hd.PPO("probe/catch", network={**NETWORK, "weights": str(file.path)}, **PPO)
    for event in model.run(steps, directory=PLACE / "run", evaluate_every=steps // 4):
        print(f"step {event.step:>7,}: mean return {event.evaluation.mean:+.2f} (best is +1)")

    say("No byte of the encoder moved")
    after = model.policy.params
    expected, found = flatten(subtree(ways[0], ENCODER)), flatten(subtree(after, ENCODER))
    moved = [path for path in expected if expected[path].tobytes() != found[path].tobytes()]
    if moved or expected.keys() != found.keys():
        raise SystemExit(f"moved: {moved}")
    size = sum(leaf.nbytes for leaf in found.values())
    print(f"{len(found)} arrays, {size:,} bytes: all as they were put in")
    for entry in model.policy.lineage.entries[:2]:
        told = f"{entry.arguments['weights']}" if entry.operation == "inject" else ""
        print(f"lineage: {entry.operation:<6} {entry.hash[:12]}…  {told}")
    print(f"\nDone in {time.monotonic() - began:.0f} s.")


if __name__ == "__main__":
    main()
