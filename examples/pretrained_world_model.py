"""A Vision Transformer from another library's file, frozen inside of a world model.

Run with ``python examples/pretrained_world_model.py``. The file is that of `pretrained_vit`, beside
this one: in the layout of Hugging Face, with weights that are drawn, so that nothing has to be
downloaded. Everything lands in ``runs/pretrained_world_model``.
"""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path
from typing import Any

import jax
from safetensors import safe_open

import heredity as hd
from heredity.environments.contract import TimeStep
from heredity.environments.probes import Catch, CatchState
from heredity.networks import read_vit
from heredity.policies import Policy
from heredity.weights import Params, flatten, subtree
from pretrained_vit import say, write_file

PLACE = Path("runs/pretrained_world_model")
ENCODER = "trunk/encoder"  # where it is, in the weights of a policy with a world model
SMALL: dict[str, Any] = {
    **{"num_envs": 16, "train_ratio": 48, "batch_size": 16, "batch_length": 16},
    **{"deter": 128, "blocks": 2, "hidden": 32, "units": 32, "groups": 8, "classes": 8, "depth": 4},
    **{"learning_rate": 1e-3, "learning_rate_warmup": 100, "entropy_coefficient": 1e-2},
    **{"imagination_length": 8, "replay_capacity": 20_000},
}


class Windy(Catch):
    """The same game, but the wind blows the ball to the right, and back in at the left."""

    def step(self, state: CatchState, action: Any) -> tuple[CatchState, TimeStep]:
        return super().step(state._replace(ball=(state.ball + 1) % self.columns), action)


def first_policy(env: Any, **settings: Any) -> Policy:
    """What a run begins with: its first event is before anything was learnt."""
    model = hd.Dreamer(env, **settings)
    return next(iter(model.run(1_000, snapshot_every=1_000, evaluation_episodes=0))).policy


def moved(before: Params, after: Params, folder: str) -> list[str]:
    """Arrays below a folder of which not every byte is the same."""
    old, new = flatten(subtree(before, folder)), flatten(subtree(after, folder))
    return [path for path in old if old[path].tobytes() != new[path].tobytes()]


def in_state(checkpoint: Path) -> tuple[int, int, int]:
    """Arrays in its optimiser, of the encoder and of all else; features kept of a picture."""
    with safe_open(checkpoint / "training_state" / "state.safetensors", "np") as file:
        names = list(file.keys())
        (kept,) = (name for name in names if name.endswith("/tokens"))
        features = file.get_slice(kept).get_shape()[-1]
    slots = [name for name in names if name.startswith("optimizer/")]
    of_encoder = sum(ENCODER in name for name in slots)
    return of_encoder, len(slots) - of_encoder, features


def main(steps: int = 8_000, elsewhere: bool = True) -> None:
    began = time.monotonic()
    shutil.rmtree(PLACE, ignore_errors=True)
    write_file(PLACE / "library")
    encoder = {"weights": PLACE / "library", "picture_size": (12, 12), "dtype": "bfloat16"}

    say("A world model around a ViT: catch a ball, seen as a picture of 6 x 5 pixels")
    quarter = steps // 4
    print(f"The ViT is frozen for {3 * quarter:,} steps, and fine-tuned from there on")
    frozen = {**SMALL, "freeze": (f"{ENCODER}/**",)}
    thaws = (f"{ENCODER}/**@{3 * quarter}",)
    model = hd.Dreamer("probe/catch", **frozen, encoder=encoder, unfreeze=thaws)
    kept: dict[str, Any] = {"checkpoint_every": quarter, "keep_last": 5}
    for event in model.run(steps, directory=PLACE / "run", evaluate_every=quarter, **kept):
        print(f"step {event.step:>6,}: mean return {event.evaluation.mean:+.2f} (best is +1)")
    learnt = model.policy
    named = next(e for e in learnt.lineage.entries if e.operation == "inject").arguments
    print(f"lineage: {named['weights']}, sha256 {named['sha256'][:12]}…")

    say("Up to that step no byte of it moved, and the optimiser did not know it")
    put_in, *later = sorted((PLACE / "run" / "checkpoints").glob("0*"))
    before = Policy.from_pretrained(put_in / "policy").params
    arrays = flatten(subtree(before, ENCODER)).values()
    print(f"put in: {len(arrays)} arrays, {sum(leaf.nbytes for leaf in arrays):,} bytes")
    changed, features = [], 0
    for checkpoint in later:
        changed = moved(before, Policy.from_pretrained(checkpoint / "policy").params, ENCODER)
        of_encoder, others, features = in_state(checkpoint)
        print(
            f"step {int(checkpoint.name):>6,}: {len(changed):>2} have moved; "
            f"in the optimiser {of_encoder:>2} arrays of it, and {others} of all else"
        )
        if changed and checkpoint != later[-1]:
            raise SystemExit(f"moved while it was frozen: {changed}")
        if of_encoder and checkpoint in later[:2]:
            raise SystemExit(f"{of_encoder} arrays of the optimiser are the encoder's")
    if not changed:
        raise SystemExit("nothing of the encoder was tuned")
    print(f"in the replay, for each picture: its features, {features} numbers in 16 bits")

    # From here on the first weights are those that were learnt: the encoder is only described.
    options = {**read_vit(PLACE / "library").options, "picture_size": (12, 12)}
    described = {**frozen, "encoder": {"options": options, "dtype": "bfloat16"}}

    say("Parts of it, for other runs")
    with_decoder = ("trunk", "decoder", "reward", "continue")
    ways = {
        "only the world model": lambda new: {**new, **{n: learnt.params[n] for n in with_decoder}},
        "only the actor": lambda new: {**new, "actor": learnt.params["actor"]},
        "all, but a new reward head": lambda new: {**learnt.params, "reward": new["reward"]},
    }
    for told, choose in ways.items():
        first = first_policy("probe/catch", seed=1, post_init=choose, **described)
        kept = [name for name in learnt.params if not moved(learnt.params, first.params, name)]
        print(f"{told + ':':<28} {', '.join(kept)} are those that were learnt")

    if elsewhere:
        say("On, in another environment of the same spaces")
        model = hd.Dreamer(Windy(), start=learnt, seed=2, **described)
        for event in model.run(quarter, evaluate_every=quarter):
            print(f"step {event.step:>6,}: mean return {event.evaluation.mean:+.2f}, with the wind")
    print(f"\nDone in {time.monotonic() - began:.0f} s.")


if __name__ == "__main__":
    # Most of the time goes into compiling: quickly rather than well, and what runs share once.
    os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=1")
    jax.config.update("jax_compilation_cache_dir", str(PLACE / "compiled"))
    main()
