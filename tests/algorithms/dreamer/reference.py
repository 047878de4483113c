"""What the official DreamerV3 computed, read from `tests/fixtures/dreamer`.

`benchmarks/conformance/dreamer.py` wrote the files with the official code, in float32 and without
chance: a categorical gives its most likely class (with the straight-through gradient of a draw),
a normal its mean plus `Case.noise` standard deviations. The leads of the most likely classes over
the next ones are at least 3e-5 in logits, so that rounding does not turn one. Compiled with other
passes the official code itself differs by 1e-6 of the largest number of a tensor, at most.

A batch has B sequences of K + T records; the latents stored with record K - 1 are where the
posterior begins, and the T later records are trained on. Every record holds the observation, the
reward and the flags on arriving there, and the action taken from there.

All weights are random. The learning rate of the updates is 0, then 5e-4, then 1e-3. At first an
update is the sign of a gradient times the learning rate, whatever the gradient's size; where
`Case.gradients` is at the level of rounding, weights after the updates may differ by that much.
Without noise the output of the policy's mean has no gradient, for there the density is flat; hence
`vector_continuous_noise`, which is `vector_continuous` but for the noise.

Official names, for which ours have to be found:

=============================== ===================================================================
``kernel``, ``bias``            (in, out) of a linear layer; (height, width, in, out) of a
                                convolution; (blocks, in / blocks, out / blocks) of a block-linear
                                layer, whose bias is (out,)
``scale``                       of an RMSNorm, (features,); it comes after the layer that it is
                                named after, and before SiLU
``enc/mlp{i}``, ``mlp{i}norm``  encoder of vectors: keys sorted, symlog or one-hot, concatenated
``enc/cnn{i}``, ``cnn{i}norm``  encoder of pictures: convolution, 2x2 max-pool, norm, SiLU
``dyn/dynin{0,1,2}``, ..norm    recurrent core: what comes from deter, stoch and action
``dyn/dynhid0``, ..norm         block-linear on [block of deter, all three] of every block
``dyn/dyngru``                  block-linear to the gates: in every block reset, candidate, update
``dyn/prior{0,1}``, ..norm      prior from deter; ``dyn/priorlogit``: its logits
``dyn/obs0``, ..norm            posterior from [deter, tokens]; ``dyn/obslogit``: its logits
``dec/mlp/linear{i}``, norm{i}  decoder of vectors, from [stoch, deter] (heads: [deter, stoch])
``dec/vec/KEY/pred``            its output for floats; ``dec/vec/KEY/logits`` for classes
``dec/sp0``                     block-linear from deter to the smallest picture
``dec/sp1``, ..norm, ``sp2``    from stoch to the smallest picture; ``dec/spnorm``: of their sum
``dec/conv{i}``, ..norm         decoder of pictures, i counting down; ``dec/imgout``: its output
``rew``, ``con``, ``pol``,      heads: ``mlp/linear{i}``, ``mlp/norm{i}``, then ``head/logits``
``val``, ``slowval``            (two-hot), ``head/logit`` (continue), ``head/action/logits`` or
                                ``head/action/{mean,stddev}`` (policy)
=============================== ===================================================================
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np

from heredity.common.tensors import read_tensors

FOLDER = Path(__file__).resolve().parents[2] / "fixtures" / "dreamer"
CASES = (
    "vector_discrete",
    "vector_continuous",
    "vector_continuous_noise",
    "image_discrete",
    "image_vector_continuous",
)
TRAINED = ("enc", "dyn", "dec", "rew", "con", "pol", "val")

Tensors = dict[str, np.ndarray]


@dataclasses.dataclass(frozen=True)
class Weights:
    """All that an update changes, but for the optimiser.

    Attributes:
        params: What is trained, by official name.
        slow_value: The slow critic, by the same names as the critic: ``val/...``.
        return_low: Moving 5th percentile of the returns.
        return_high: Moving 95th percentile of the returns.
    """

    params: Tensors
    slow_value: Tensors
    return_low: float
    return_high: float


@dataclasses.dataclass(frozen=True)
class Case:
    """One recording.

    Attributes:
        name: One of `CASES`.
        agent: The official settings, nested; sizes are in ``agent["dyn"]["rssm"]`` (deter, hidden,
            stoch, classes, blocks), ``agent["enc"]["simple"]`` (depth, units) and so on.
        spaces: Of observations and ``action``: dtype, shape, and ``classes`` of discrete ones.
        noise: Standard deviations that are added to the mean of a continuous action.
        batch: What is trained on, (B, K + T, ...): observations, ``action``, ``reward``,
            ``is_first``, ``is_last``, ``is_terminal``, and the stored latents ``dyn/deter`` and
            ``dyn/stoch``.
        context: K.
        before: Weights at the start.
        loss: The total.
        losses: Every loss by name, unscaled, (B, T); ``repval`` has (B, T - 1).
        gradients: Of the total, by official name.
        tokens: Of the encoder, (B, T, features).
        posterior: ``deter``, ``stoch`` and ``logit`` of the T records; the latents are what is
            written back to the replay.
        imagined: ``action``, ``reward``, ``continue``, ``value`` and ``slow_value``,
            (B * T, H + 1, ...), and ``return``, (B * T, H). The starts are all posteriors, those
            of one sequence one after the other.
        metrics: Scalars by official name, one for each update.
        after_1: Weights after one update. The learning rate was 0: only the slow critic and the
            percentiles have moved.
        after_3: Weights after three updates by the same batch; None of cases that made one only.
        open_loop: Means of the decoder (of vectors in symlog space; of pictures within 0 and 1,
            every fifth row and column), of ``reward``, and ``continue``, (B, T, ...): the first
            T // 2 records observed, the others imagined with the actions of the batch.
        acting: Of 2 environments over 5 moments, (5, 2, ...): ``action``, ``deter``, ``stoch``,
            and ``logits``, or ``mean`` and ``stddev``, of the policy. They begin from nothing and
            see what `acting_observations` says, whatever they do.
        acting_observations: The first 5 records of the first two sequences of the batch, (5, 2,
            ...), with ``is_first``, which is true again of the first at moment 4 and of the second
            at moment 3.
    """

    name: str
    agent: dict[str, Any]
    spaces: dict[str, dict[str, Any]]
    noise: float
    batch: Tensors
    context: int
    before: Weights
    loss: float
    losses: Tensors
    gradients: Tensors
    tokens: np.ndarray
    posterior: Tensors
    imagined: Tensors
    metrics: Tensors
    after_1: Weights
    after_3: Weights | None
    open_loop: Tensors
    acting: Tensors
    acting_observations: Tensors


def load_case(name: str) -> Case:
    """One of `CASES`."""
    tensors, metadata = read_tensors(FOLDER / f"{name}.safetensors")
    about = json.loads(metadata["about"])

    def under(prefix: str) -> Tensors:
        return {
            path.removeprefix(prefix): tensor
            for path, tensor in tensors.items()
            if path.startswith(prefix)
        }

    before = under("before/")
    batch = under("batch/")
    seen = {*about["spaces"], "reward", "is_first", "is_last", "is_terminal"} - {"action"}
    return Case(
        name=name,
        agent=about["agent"],
        spaces=about["spaces"],
        noise=about["noise"],
        batch=batch,
        context=about["batch"]["context"],
        before=_weights(before),
        loss=float(tensors["loss"]),
        losses=under("losses/"),
        gradients=under("gradients/"),
        tokens=tensors["tokens"],
        posterior=under("posterior/"),
        imagined=under("imagined/"),
        metrics=under("metrics/"),
        after_1=_weights(before | under("after_1/")),
        after_3=_weights(before | later) if (later := under("after_3/")) else None,
        open_loop=under("open_loop/"),
        acting=under("acting/"),
        acting_observations={key: np.swapaxes(batch[key][:2, :5], 0, 1) for key in seen},
    )


def parameter_counts() -> dict[str, dict[str, dict[str, int]]]:
    """How many weights the official modules have, by problem, preset and module.

    ``total`` leaves out ``slowval``, as the official count does.
    """
    return json.loads((FOLDER / "parameter_counts.json").read_text())


def _weights(tensors: Tensors) -> Weights:
    params = {name: t for name, t in tensors.items() if name.split("/")[0] in TRAINED}
    slow = {
        name.removeprefix("slow"): t for name, t in tensors.items() if name.startswith("slowval/")
    }
    return Weights(
        params, slow, float(tensors["retnorm/lo/value"]), float(tensors["retnorm/hi/value"])
    )
