"""Policies of CleanRL's PPO scripts: the state dict of their agent."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from heredity.common.errors import RefusedError
from heredity.networks import DistributionSpec, MlpOptions
from heredity.policies.importers.making import (
    ACTOR_SCALE,
    Imported,
    Plan,
    bounded_actions,
    chain_rules,
    check_arrays,
    dense_widths,
    fingerprint,
    made,
    numbered,
    statistics,
    statistics_rules,
)
from heredity.policies.importers.options import NO_NORMALIZER, Demands, ImportOptions
from heredity.policies.specification import PolicySpec
from heredity.spaces import Discrete
from heredity.weights import Rule
from heredity.weights.reading import read_torch
from heredity.weights.reading.npz import read_npz
from heredity.weights.rules import SQUEEZED

_CLIP = 10.0  # as in its scripts
_EPSILON = 1e-8  # of Gymnasium's NormalizeObservation, which its scripts wrap environments in


def import_cleanrl(path: Path, options: ImportOptions) -> Imported:
    """The agent of ``ppo.py`` or ``ppo_continuous_action.py``. See docs/importing.md.

    Args:
        path: The ``.cleanrl_model``, or any file of `torch.save` with the agent's state dict.
        options: ``activation``, ``observation_names`` and ``normalizer`` are asked for; of an
            agent with continuous actions also ``action_bounds``.

    Raises:
        RefusedError: when the file is broken, or of another script.
        UsageError: when something that the file does not say is missing.
    """
    its_bytes = fingerprint(path, options)
    arrays = read_torch(path)
    if not isinstance(arrays, dict) or not all(
        isinstance(name, str) and isinstance(array, np.ndarray) for name, array in arrays.items()
    ):
        raise RefusedError(path, "is no state dict: tensors by name")
    is_continuous = "actor_logstd" in arrays
    layers = numbered(arrays, "actor_mean." if is_continuous else "actor.")
    critic_layers = numbered(arrays, "critic.")
    known = {*layers, *critic_layers}
    for name in arrays:
        if name.rpartition(".")[0] not in known and name != "actor_logstd":
            raise RefusedError(
                path,
                f"has {name[:80]}: the agents of ppo.py and ppo_continuous_action.py are read, "
                "which have dense layers actor, actor_mean and critic",
            )
    widths, critic = (dense_widths(arrays, part, path) for part in (layers, critic_layers))
    if critic[0] != widths[0] or critic[-1] != 1:
        raise RefusedError(path, "has a critic that does not read what the actor reads")
    check_arrays(path, arrays)
    demands = Demands(path, options)
    told = "the function after each hidden layer, as in the script; in CleanRL's own: tanh"
    activation = demands.ask("activation", told)
    bounds = None
    if is_continuous:
        told = "what actions are clipped to, the environment's bounds, as in --action-bounds=-1,1"
        bounds = demands.ask("action_bounds", told)
    told = "'none', or an .npz with mean, var and count of NormalizeObservation's obs_rms"
    normalizer = demands.ask("normalizer", told)
    # Read before anything is found missing.
    own = None
    if normalizer not in (None, NO_NORMALIZER):
        own = _statistics(Path(normalizer), widths[0])
    seen = demands.seen(widths[0])
    demands.check()
    rules = [*chain_rules(layers, "actor"), *chain_rules(critic_layers, "critic")]
    if is_continuous:
        rules.append(Rule("actor_logstd", "actor/log_std", SQUEEZED))
    if own is not None:
        rules += statistics_rules()
    spec = PolicySpec(
        observation_space=seen,
        action_space=(
            Discrete(widths[-1]) if bounds is None else bounded_actions(bounds, widths[-1])
        ),
        actor=MlpOptions(
            hidden=widths[1:-1], activation=activation, output_scale=ACTOR_SCALE
        ).spec(),
        critic=MlpOptions(hidden=critic[1:-1], activation=activation).spec(),
        distribution=DistributionSpec("normal" if is_continuous else "categorical"),
        normalize_observations=own is not None,
        observation_clip=_CLIP if options.observation_clip is None else options.observation_clip,
        observation_epsilon=_EPSILON,
        environment=options.environment,
        algorithm="ppo",
    )
    plan = Plan(spec, {**arrays, **(own or {})}, rules, "cleanrl")
    return made(its_bytes, "cleanrl", plan, options)


def _statistics(path: Path, features: int) -> dict[str, np.ndarray]:
    """What observations were normalised by, from a file of somebody's own."""
    found = read_npz(path)
    missing = [name for name in ("mean", "var") if name not in found]
    if missing:
        raise RefusedError(path, f"has no {', '.join(missing)}: mean, var (and count) expected")
    mean, variance = found["mean"], found["var"]
    if mean.shape != (features,) or variance.shape != (features,):
        raise RefusedError(
            path, f"has statistics of shape {mean.shape}, {features} features were expected"
        )
    if not (variance >= 0).all():
        raise RefusedError(path, "has a variance below zero")
    return statistics(mean, variance, found.get("count", np.zeros(())))
