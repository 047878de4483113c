"""Let the official DreamerV3 compute on data that we choose, and write down what comes out.

Needs the official repository at `dreamerv3_setup.COMMIT` and the libraries that README.md beside
this file names. With ``JAX_PLATFORMS=cpu`` and ``PYTHONPATH=CHECKOUT:benchmarks/conformance`` it is
run as ``python benchmarks/conformance/dreamer.py [FOLDER]``.

The model's own `loss`, `train`, `policy` and modules run as they are, in float32, but for these
changes, made while it runs:

- nothing is drawn: a categorical gives its most likely class (with the straight-through gradient
  that a draw has), and a normal its mean plus `noise` standard deviations;
- what `imag_loss` is given and returns is put among the metrics.

All weights are made random, for many are zero at first and hide mistakes.
`tests/algorithms/dreamer/reference.py` reads what is written and says what it is.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import io
import json
import sys
from pathlib import Path
from typing import Any

import dreamerv3.agent
import elements
import jax
import jax.numpy as jnp
import ninjax as nj
import numpy as np
from dreamerv3_setup import COMMIT, PRESETS, PROBLEMS, Spaces, bare_model, settings, zeros
from embodied.jax import outs
from safetensors.numpy import save_file

FOLDER = Path(__file__).resolve().parents[2] / "tests" / "fixtures" / "dreamer"
BATCH, LENGTH, CONTEXT = 3, 6, 1
MODULES = ("enc", "dyn", "dec", "rew", "con", "pol", "val")
EVERY_PIXEL = 5  # of predicted pictures every fifth row and column is kept

SIZES: dict[str, Any] = {
    r"agent\..*\.rssm": {"deter": 32, "hidden": 10, "stoch": 4, "classes": 5},
    r"agent\..*\.depth": 2,
    r"agent\..*\.units": 8,
    "agent.imag_length": 4,
    # Far enough for float32 to show, and with the ramp: 0, then 5e-4, then 1e-3.
    "agent.opt": {"lr": 1e-3, "warmup": 2},
    "batch_size": BATCH,
    "batch_length": LENGTH,
    "replay_context": CONTEXT,
}
VECTOR = elements.Space(np.float32, (5,))
GREY = elements.Space(np.uint8, (48, 48, 1))
IMAGE = elements.Space(np.uint8, (48, 48, 3))
TWO_VECTORS = {"joints": elements.Space(np.float32, (4,)), "speed": elements.Space(np.float32)}
CASES: dict[str, dict[str, Any]] = {
    "vector_discrete": {
        "seed": 2,
        "updates": 3,
        "observations": {"vector": VECTOR, "weather": elements.Space(np.int32, (), 0, 4)},
        "actions": {"action": elements.Space(np.int32, (), 0, 3)},
    },
    "vector_continuous": {
        "seed": 0,
        "updates": 3,
        "observations": TWO_VECTORS,
        "actions": {"action": elements.Space(np.float32, (2,), -1, 1)},
    },
    # At the mean of a normal the gradient of its density says nothing; here it does.
    "vector_continuous_noise": {
        "seed": 0,
        "observations": TWO_VECTORS,
        "actions": {"action": elements.Space(np.float32, (2,), -1, 1)},
        "noise": 0.75,
    },
    "image_discrete": {
        "seed": 1,
        "observations": {"image": IMAGE},
        "actions": {"action": elements.Space(np.int32, (), 0, 4)},
    },
    "image_vector_continuous": {
        "seed": 0,
        "observations": {"image": GREY, "vector": VECTOR},
        "actions": {"action": elements.Space(np.float32, (2,), -1, 1)},
        "noise": -0.5,
    },
}

Tensors = dict[str, np.ndarray]


@contextlib.contextmanager
def without_chance(noise: float, margins: list[float]) -> Any:
    """Nothing is drawn. `margins` gets by how much each most likely class led the next one."""

    def most_likely(self: Any, seed: Any, shape: Any = ()) -> jax.Array:
        best = jax.lax.top_k(self.logits, 2)[0]
        jax.debug.callback(
            lambda lead: margins.append(float(lead)), (best @ jnp.array([1, -1])).min()
        )
        return jnp.argmax(self.logits, -1)

    def shifted(self: Any, seed: Any, shape: Any = ()) -> jax.Array:
        return self.mean + noise * self.stddev

    def recorded(act: Any, rew: Any, con: Any, *args: Any, **options: Any) -> Any:
        losses, extra, metrics = imag_loss(act, rew, con, *args, **options)
        _, value, slow, *_ = args
        metrics["imagined"] = {
            "action": act["action"],
            "reward": rew,
            "continue": con,
            "value": value.pred(),
            "slow_value": slow.pred(),
            "return": extra["ret"],
        }
        return losses, extra, metrics

    before = outs.Categorical.sample, outs.Normal.sample
    imag_loss = dreamerv3.agent.imag_loss
    outs.Categorical.sample, outs.Normal.sample = most_likely, shifted
    dreamerv3.agent.imag_loss = recorded
    try:
        yield
    finally:
        outs.Categorical.sample, outs.Normal.sample = before
        dreamerv3.agent.imag_loss = imag_loss


def observations(draw: np.random.Generator, spaces: Spaces, shape: tuple[int, ...]) -> Tensors:
    """Noise; of vectors some numbers are large."""
    found: Tensors = {}
    for key, space in spaces.items():
        full = (*shape, *space.shape)
        if space.dtype == np.float32:
            values = draw.normal(size=full) * 10 ** draw.uniform(-1, 2, full)
            found[key] = values.astype(np.float32)
        else:
            found[key] = draw.integers(0, space.high, full, space.dtype)
    return found


def batch_of(draw: np.random.Generator, model: Any, case: dict[str, Any]) -> Tensors:
    """Sequences that begin, end and are cut in the middle."""
    shape = (BATCH, CONTEXT + LENGTH)
    data = zeros(model, *shape) | observations(draw, case["observations"], shape)
    for key, space in case["actions"].items():
        if space.discrete:
            data[key] = draw.integers(0, space.high, (*shape, *space.shape), space.dtype)
        else:  # beyond the bounds as well, as the policy's draws are
            data[key] = draw.normal(scale=1.2, size=(*shape, *space.shape)).astype(np.float32)
    data["reward"] = (draw.normal(size=shape) * 10 ** draw.uniform(-2, 2, shape)).astype(np.float32)
    data["reward"][0, 3], data["reward"][1, 2] = 1234.5, 0.0
    # Sequence 0 terminates after record 3, sequence 1 is cut after record 2 and terminates with
    # the batch, sequence 2 goes through but for its first trained record, which begins an episode.
    for flag, places in {
        "is_terminal": [(0, 3), (1, 6)],
        "is_last": [(0, 3), (1, 2), (1, 6)],
        "is_first": [(0, 0), (0, 4), (1, 0), (1, 3), (2, 0), (2, 1)],
    }.items():
        for place in places:
            data[flag][place] = True
    deter, stoch = data["dyn/deter"], data["dyn/stoch"]
    data["dyn/deter"] = np.tanh(draw.normal(size=deter.shape)).astype(np.float32)
    classes = draw.integers(0, stoch.shape[-1], stoch.shape[:-1])
    data["dyn/stoch"] = np.eye(stoch.shape[-1], dtype=np.float32)[classes]
    return data


def perturbed(draw: np.random.Generator, state: dict[str, jax.Array]) -> Tensors:
    """Weights in which nothing is zero, one or equal to something else."""
    found = {}
    for name in sorted(state):
        leaf = np.array(state[name])
        module, kind = name.split("/")[0], name.split("/")[-1]
        noise = draw.normal(size=leaf.shape)
        if module not in (*MODULES, "slowval"):
            found[name] = leaf
            continue
        if kind in ("scale", "bias"):
            leaf = leaf + 0.2 * noise
        elif np.abs(leaf).max() < 0.05:  # outputs that begin at zero or near it
            leaf = leaf + 0.3 * noise
        else:
            leaf = leaf + 0.05 * noise
        if name.endswith("logits/bias") and leaf.size == 255:
            # Else a random distribution over bins up to 4.85e8 expects 1e7 or so. Not lower than
            # -24, for squares of gradients must not be lost below the smallest float32.
            leaf -= np.minimum(0.5 * (np.linspace(-20, 20, 255) / 1.5) ** 2, 24)
        if name in ("dyn/obslogit/kernel", "dyn/priorlogit/kernel"):
            leaf *= 2.0  # so that the most likely classes are so by more than rounding
        if name == "pol/head/action/logits/kernel":
            leaf *= 4.0  # so that not all actions are the same
        if name == "con/head/logit/bias":
            leaf += 2.0
        found[name] = leaf.astype(np.float32)
    return found | {"retnorm/lo/value": np.float32(-0.4), "retnorm/hi/value": np.float32(1.9)}


def update(
    model: Any, state: Tensors, carry: Any, data: Tensors, updates: int
) -> tuple[Tensors, dict[str, Any]]:
    """Losses and gradients, and so many updates by the same batch."""

    def gradients(carry: Any, data: Any) -> Any:
        inputs = model._apply_replay_context(carry, data)[:3]

        def loss(*args: Any) -> Any:
            return model.loss(*args, training=True)

        return nj.grad(loss, model.modules, has_aux=True)(*inputs)

    seed = np.zeros(2, np.uint32)
    _, (loss, params, grads, aux) = jax.jit(nj.pure(gradients))(state, carry, data, seed=seed)
    _, entries, extra, metrics = aux
    assert set(params) == {name for name in state if name.split("/")[0] in MODULES}
    tensors = {"loss": loss, "tokens": extra["tokens"]}
    tensors |= {f"losses/{key}": value for key, value in extra["losses"].items()}
    tensors |= {f"imagined/{key}": value for key, value in metrics["imagined"].items()}
    tensors |= {f"posterior/{key}": value for key, value in extra["repfeat"].items()}
    tensors |= {f"gradients/{name}": value for name, value in grads.items()}

    train = jax.jit(nj.pure(model.train))
    kept = {
        name: value
        for name, value in state.items()
        if not name.startswith(("opt/", "slowval_count/"))
    }
    tensors |= {f"before/{name}": value for name, value in kept.items()}
    now, seen = dict(state), []
    for step in range(1, updates + 1):
        now, (_, written, metrics) = train(now, carry, data, seed=seed)
        del metrics["imagined"]
        seen.append({"opt/loss": metrics["opt/loss"], **metrics})
        if step == 1:
            assert all((written["replay"][f"dyn/{k}"] == v).all() for k, v in entries[1].items())
        changed = {name for name in kept if (np.array(now[name]) != np.array(state[name])).any()}
        if step in (1, 3):
            tensors |= {f"after_{step}/{name}": now[name] for name in changed}
    tensors |= {f"metrics/{key}": [metrics[key] for metrics in seen] for key in seen[0]}
    absolute = np.concatenate([np.abs(np.ravel(grad)) for grad in grads.values()])
    smallest = absolute[absolute > 0].min()
    assert smallest > 1e-17, smallest
    clipped = [
        name
        for name, grad in grads.items()
        if np.linalg.norm(grad) > 0.3 * max(1e-3, np.linalg.norm(state[name]))
    ]
    return tensors, {"clipped": len(clipped), "tensors": len(grads)}


def predictions(model: Any, state: Tensors, carry: Any, data: Tensors) -> Tensors:
    """As the official report makes them: half of each sequence observed, the rest imagined."""

    def decoded(feat: Any, reset: Any) -> dict[str, Any]:
        recons = model.dec({}, feat, reset, training=False)[2]
        inputs = model.feat2tensor(feat)
        said = {key: recon.pred() for key, recon in recons.items()}
        for key in model.dec.imgkeys:
            said[key] = said[key][:, :, ::EVERY_PIXEL, ::EVERY_PIXEL]
        return said | {
            "reward": model.rew(inputs, 2).pred(),
            "continue": model.con(inputs, 2).prob(1),
        }

    def run(carry: Any, data: Any) -> Any:
        (enc, dyn, _), obs, prevact, _ = model._apply_replay_context(carry, data)
        tokens = model.enc(enc, obs, obs["is_first"], False)[2]
        half = LENGTH // 2
        reset = obs["is_first"]
        first = {key: value[:, :half] for key, value in prevact.items()}
        rest = {key: value[:, half:] for key, value in prevact.items()}
        dyn, _, feat = model.dyn.observe(dyn, tokens[:, :half], first, reset[:, :half], False)
        _, imagined, _ = model.dyn.imagine(dyn, rest, LENGTH - half, False)
        both = decoded(feat, reset[:, :half]), decoded(imagined, jnp.zeros_like(reset[:, half:]))
        return {key: jnp.concatenate([half[key] for half in both], 1) for key in both[0]}

    _, found = jax.jit(nj.pure(run))(state, carry, data, seed=np.zeros(2, np.uint32))
    return {f"open_loop/{key}": value for key, value in found.items()}


def acting(model: Any, state: Tensors, data: Tensors) -> Tensors:
    """The first five records of two sequences, of which one begins anew within them."""
    moments, envs = 5, 2

    def act(carry: Any, obs: Any) -> Any:
        carry, action, extra = model.policy(carry, obs)
        feat = {key: extra[f"dyn/{key}"] for key in ("deter", "stoch")}
        policy = model.pol(model.feat2tensor(feat), 1)["action"]
        policy = getattr(policy, "output", policy)  # without what sums over the dimensions
        names = ("logits",) if hasattr(policy, "logits") else ("mean", "stddev")
        return carry, feat | action | {name: getattr(policy, name) for name in names}

    step = jax.jit(nj.pure(act))
    seed = np.zeros(2, np.uint32)
    _, carry = nj.pure(model.init_policy)(state, envs, seed=seed)
    said = []
    for moment in range(moments):
        now = {key: data[key][:envs, moment] for key in model.obs_space}
        _, (carry, found) = step(state, carry, now, seed=seed)
        said.append(found)
    return {f"acting/{key}": np.stack([now[key] for now in said]) for key in said[0]}


def record(name: str, case: dict[str, Any]) -> tuple[Tensors, dict[str, Any]]:
    """All of one case."""
    draw = np.random.default_rng(case["seed"])
    config = settings(changes=SIZES)
    model = bare_model(case["observations"], case["actions"], config)
    noise, margins = case.get("noise", 0.0), []
    with without_chance(noise, margins):
        seed = np.zeros(2, np.uint32)
        _, carry = nj.pure(model.init_train)({}, BATCH, seed=seed)
        data = batch_of(draw, model, case)
        with contextlib.redirect_stdout(io.StringIO()):  # a table of all weights
            state = nj.init(model.train)({}, carry, data, seed=seed)
        state = perturbed(draw, state)
        tensors, said = update(model, state, carry, data, case.get("updates", 1))
        tensors |= predictions(model, state, carry, data)
        tensors |= acting(model, state, data)
        jax.effects_barrier()
    if margins:
        said["smallest_lead"] = min(margins)
        assert said["smallest_lead"] > 3e-5, "too near a tie: take another seed"
    tensors |= {f"batch/{key}": data[key] for key in data if key not in ("consec", "stepid")}
    tensors = {key: np.array(value) for key, value in tensors.items()}
    assert len(np.unique(tensors["imagined/action"])) > 1
    assert {(tensors[f"losses/{key}"] > 1.0).any() for key in ("dyn", "rep")} == {True}
    for key, value in tensors.items():
        assert np.isfinite(value).all(), key
    spaces = {
        key: {"dtype": np.dtype(space.dtype).name, "shape": space.shape}
        | ({"classes": int(space.high)} if space.discrete and space.dtype == np.int32 else {})
        for key, space in {**case["observations"], **case["actions"]}.items()
    }
    return tensors, {
        "spaces": spaces,
        "agent": json.loads(json.dumps(dict(config.agent))),
        "batch": {"size": BATCH, "length": LENGTH, "context": CONTEXT},
        "noise": noise,
        **said,
    }


def counts() -> dict[str, dict[str, dict[str, int]]]:
    """How many weights each module has, by problem and preset; from shapes alone."""
    found: dict[str, dict[str, dict[str, int]]] = {}
    for problem, (observed, actions) in PROBLEMS.items():
        for preset in PRESETS:
            model = bare_model(observed, actions, settings(preset))

            def made(model: Any = model) -> Any:
                seed = jnp.zeros(2, jnp.uint32)
                _, carry = nj.pure(model.init_train)({}, 1, seed=seed)
                return nj.init(model.train)({}, carry, zeros(model, 1, 3), seed=seed)

            with contextlib.redirect_stdout(io.StringIO()):
                shapes = jax.eval_shape(made)
            sizes = dict.fromkeys((*MODULES, "slowval"), 0)
            for name, leaf in shapes.items():
                module = name.split("/")[0]
                if module in sizes:
                    sizes[module] += leaf.size
            total = sum(sizes[module] for module in MODULES)
            found.setdefault(problem, {})[preset] = {**sizes, "total": total}
            print(f"  {problem} {preset}: {total:,}")
    return found


def main() -> None:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    libraries = ("jax", "ninjax", "optax", "elements", "numpy")
    versions = {name: importlib.metadata.version(name) for name in libraries}
    shared = {"made_by": "benchmarks/conformance/dreamer.py", "dreamerv3": COMMIT}
    for name, case in CASES.items():
        tensors, said = record(name, case)
        about = shared | {"versions": versions, **said}
        path = folder / f"{name}.safetensors"
        save_file(tensors, path, metadata={"about": json.dumps(about)})
        print(f"{name}: {path.stat().st_size} bytes, {said}")
    (folder / "parameter_counts.json").write_text(json.dumps(counts(), indent=1) + "\n")


if __name__ == "__main__":
    main()
