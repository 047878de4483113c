"""A Vision Transformer from another library's file, frozen inside of a world model.

Run with ``python examples/pretrained_world_model.py``. The file is that of `pretrained_vit`, beside
this one: in the layout of Hugging Face, with weights that are drawn, so that nothing has to be
downloaded. Everything lands in ``runs/pretrained_world_model``.
"""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import Any

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
    **{"num_envs": 16, "train_ratio": 64, "batch_size": 16, "batch_length": 16},
    **{"deter": 128, "hidden": 32, "units": 32, "groups": 8, "classes": 8, "depth": 8},
    **{"learning_rate": 1e-3, "learning_rate_warmup": 200, "entropy_coefficient": 1e-2},
    **{"replay_capacity": 50_000},
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


def in_optimizer(run: Path) -> tuple[int, int]:
    """Arrays in the newest optimiser of a run: of the encoder, and of everything else."""
    place = max((run / "checkpoints").glob("0*"))
    with safe_open(place / "training_state" / "state.safetensors", "np") as file:
        names = [name for name in file.keys() if name.startswith("optimizer/")]  # noqa: SIM118
    of_encoder = sum(ENCODER in name for name in names)
    return of_encoder, len(names) - of_encoder


def main(steps: int = 16_000, tuned: int = 2_000) -> None:
    began = time.monotonic()
    shutil.rmtree(PLACE, ignore_errors=True)
    write_file(PLACE / "library")
    encoder = {"weights": PLACE / "library", "picture_size": (12, 12), "dtype": "bfloat16"}

    say("A world model around a frozen ViT: catch a ball, seen as a picture of 6 x 5 pixels")
    settings = {**SMALL, "encoder": encoder, "freeze": (f"{ENCODER}/**",)}
    model = hd.Dreamer("probe/catch", **settings)
    for event in model.run(steps, directory=PLACE / "run", evaluate_every=steps // 4):
        print(f"step {event.step:>6,}: mean return {event.evaluation.mean:+.2f} (best is +1)")
    learnt = model.policy
    put_in = next(e for e in learnt.lineage.entries if e.operation == "inject")
    print(f"lineage: {put_in.arguments['weights']}, sha256 {put_in.arguments['sha256'][:12]}…")

    say("No byte of it moved, and the optimiser does not know it")
    fresh = first_policy("probe/catch", **settings)
    frozen = flatten(subtree(fresh.params, ENCODER))
    if changed := moved(fresh.params, learnt.params, ENCODER):
        raise SystemExit(f"moved: {changed}")
    size = sum(leaf.nbytes for leaf in frozen.values())
    print(f"{len(frozen)} arrays, {size:,} bytes: all as they were put in")
    of_encoder, others = in_optimizer(PLACE / "run")
    if of_encoder:
        raise SystemExit(f"{of_encoder} arrays of the optimiser are the encoder's")
    print(f"in the optimiser: {others} arrays, none of the encoder")

    # From here on the first weights are those that were learnt: the encoder is only described.
    options = {**read_vit(PLACE / "library").options, "picture_size": (12, 12)}
    described = {"encoder": {"options": options, "dtype": "bfloat16"}}

    say("Fine-tuned from a step on")
    half = tuned // 2
    thawed = {**settings, "unfreeze": (f"{ENCODER}/**@{half}",)}
    model = hd.Dreamer("probe/catch", start=learnt, **{**thawed, **described})
    count = 0
    for event in model.run(tuned, directory=PLACE / "tuned", evaluate_every=half):
        count = len(moved(learnt.params, event.policy.params, ENCODER))
        print(f"step {event.step:>6,}: {count:>2} of {len(frozen)} arrays of the encoder moved")
    if not count:
        raise SystemExit("nothing of the encoder was tuned")

    say("Parts of it, for other runs")
    with_decoder = ("trunk", "decoder", "reward", "continue")
    ways = {
        "only the world model": lambda new: {**new, **{n: learnt.params[n] for n in with_decoder}},
        "only the actor": lambda new: {**new, "actor": learnt.params["actor"]},
        "all, but a new reward head": lambda new: {**learnt.params, "reward": new["reward"]},
    }
    for told, choose in ways.items():
        first = first_policy("probe/catch", seed=1, post_init=choose, **{**settings, **described})
        kept = [name for name in learnt.params if not moved(learnt.params, first.params, name)]
        print(f"{told + ':':<28} {', '.join(kept)} are those that were learnt")

    say("On, in another environment of the same spaces")
    model = hd.Dreamer(Windy(), start=learnt, seed=2, **{**settings, **described})
    for event in model.run(tuned * 2, evaluate_every=tuned):
        print(f"step {event.step:>6,}: mean return {event.evaluation.mean:+.2f}, with the wind")
    print(f"\nDone in {time.monotonic() - began:.0f} s.")


if __name__ == "__main__":
    main()
