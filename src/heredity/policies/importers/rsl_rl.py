"""Policies of rsl_rl: the ``.pt`` files that its runners of versions 2 to 5 save."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from heredity.common.errors import RefusedError
from heredity.common.words import counted
from heredity.networks import DistributionSpec, MlpOptions
from heredity.policies.importers.making import (
    ACTOR_SCALE,
    Arrays,
    Imported,
    Plan,
    bounded_actions,
    chain_rules,
    check_arrays,
    dense_widths,
    fingerprint,
    log_of_deviation,
    made,
    numbered,
    statistics,
    statistics_rules,
)
from heredity.policies.importers.options import Demands, ImportOptions
from heredity.policies.specification import PolicySpec
from heredity.weights import Rule
from heredity.weights.reading import read_torch
from heredity.weights.rules import drop

_EPSILON = 1e-2  # that its EmpiricalNormalization adds to the deviation; no file says another
_NO_CLIP = 1e30  # it does not clip what it normalised


@dataclasses.dataclass(frozen=True)
class _Content:
    """The arrays of a file under one set of names, whatever the layout.

    Args:
        layout: Which versions write it so.
        arrays: ``actor.N.weight``, ``critic.N.weight``, ``std`` or ``log_std``, and the statistics
            ``actor_norm.mean``, …
        iterations: Of training, each of many environment steps.
    """

    layout: str
    arrays: Arrays
    iterations: int


def import_rsl_rl(path: Path, options: ImportOptions) -> Imported:
    """The policy in a ``model_*.pt``. See docs/importing.md.

    Args:
        path: The file.
        options: ``activation``, ``action_bounds``, ``observation_names`` and ``critic`` are asked
            for.

    Raises:
        RefusedError: when the file is broken, or has what heredity cannot express.
        UsageError: when something that the file does not say is missing.
    """
    its_bytes = fingerprint(path, options)
    content = _read(path)
    arrays = content.arrays
    layers = numbered(arrays, "actor.")
    widths = dense_widths(arrays, layers, path)
    critic_layers = numbered(arrays, "critic.")
    critic_widths = dense_widths(arrays, critic_layers, path)
    source, log_std = dict(arrays), _deviation(arrays, widths[-1], path)
    normalizer = _statistics(arrays, "actor_norm.", widths[0], path)
    check_arrays(path, arrays)
    demands = Demands(path, options)
    activation = demands.ask(
        "activation", "the function after each hidden layer: elu, leaky_relu, relu, selu, tanh, …"
    )
    bounds = demands.ask(
        "action_bounds",
        "what the environment clips actions to, as in --action-bounds=-1,1; none for nothing",
    )
    seen = demands.seen(widths[0])
    told = "'same' if it reads what the actor reads, and is to be taken over; else 'drop'"
    critic = demands.ask("critic", f"what the critic reads: {told}")
    demands.check()
    rules: list[Rule] = [*chain_rules(layers, "actor")]
    if critic == "same":
        _check_same(arrays, widths, critic_widths, path)
        rules += chain_rules(critic_layers, "critic")
    else:
        rules += drop(*(name for name in arrays if name.startswith(("critic.", "critic_norm."))))
    source["log(std)"] = log_std
    rules.append(Rule("log(std)", "actor/log_std"))
    if normalizer is not None:
        source |= normalizer
        rules += statistics_rules()
    # What was computed from: those arrays have been used.
    used = ("std", "log_std", "actor_norm.", "critic_norm.")
    for name in arrays:
        if name.startswith(used) and not any(rule.match(name) for rule in rules):
            del source[name]
    spec = PolicySpec(
        observation_space=seen,
        action_space=bounded_actions(bounds, widths[-1]),
        actor=MlpOptions(
            hidden=widths[1:-1], activation=activation, output_scale=ACTOR_SCALE
        ).spec(),
        critic=(
            MlpOptions(hidden=critic_widths[1:-1], activation=activation).spec()
            if critic == "same"
            else None
        ),
        distribution=DistributionSpec("normal"),
        normalize_observations=normalizer is not None,
        observation_clip=_NO_CLIP if normalizer is not None else 10.0,
        observation_epsilon=0.0 if normalizer is not None else 1e-8,
        environment=options.environment,
        algorithm="ppo",
    )
    notes = [
        f"written by rsl_rl {content.layout}, after {counted(content.iterations, 'iteration')}"
    ]
    if normalizer is not None:
        notes.append(f"variances are (std + {_EPSILON})², by which rsl_rl divides")
    if critic != "same":
        notes.append("the critic was left out")
    plan = Plan(spec, source, rules, f"rsl_rl {content.layout}", notes=tuple(notes))
    return made(its_bytes, "rsl_rl", plan, options)


def _read(path: Path) -> _Content:
    """The file, whichever of the layouts it has."""
    value = read_torch(path)
    if not isinstance(value, dict):
        raise RefusedError(path, "is no dict of state dicts, as rsl_rl writes")
    iterations = value.get("iter", 0)
    iterations = iterations if isinstance(iterations, int) and iterations >= 0 else 0
    if "actor_state_dict" in value:
        actor = _tensors(value, "actor_state_dict", path)
        critic = _tensors(value, "critic_state_dict", path)
        arrays = {_of_a_model(name, "actor"): array for name, array in actor.items()}
        arrays |= {_of_a_model(name, "critic"): array for name, array in critic.items()}
        # Version 4 keeps the deviation beside the layers, version 5 in a distribution.
        is_newer = any(name.startswith("distribution.") for name in actor)
        return _Content("5" if is_newer else "4", arrays, iterations)
    if "model_state_dict" not in value:
        raise RefusedError(
            path, f"has {_some(value)}; model_state_dict or actor_state_dict was expected"
        )
    arrays = dict(_tensors(value, "model_state_dict", path))
    layout = "2"
    for part in ("actor", "critic"):
        prefix = f"{part}_obs_normalizer._"
        for name in [name for name in arrays if name.startswith(f"{part}_obs_normalizer.")]:
            layout = "3"
            inner = name.removeprefix(prefix).removeprefix(f"{part}_obs_normalizer.")
            arrays[f"{part}_norm.{inner}"] = arrays.pop(name)
    for part, names in (
        ("actor", ("obs_norm_state_dict",)),
        ("critic", ("privileged_obs_norm_state_dict", "critic_obs_norm_state_dict")),
    ):
        for name in (name for name in names if name in value):
            found = _tensors(value, name, path)
            arrays |= {f"{part}_norm.{n.removeprefix('_')}": a for n, a in found.items()}
    return _Content(layout if layout == "3" else "2 or 3", arrays, iterations)


def _of_a_model(name: str, part: str) -> str:
    """A name in a state dict of versions 4 and 5, as versions 2 and 3 would call it."""
    for old, new in (
        ("mlp.", f"{part}."),
        ("obs_normalizer._", f"{part}_norm."),
        ("obs_normalizer.", f"{part}_norm."),
        ("distribution.std_param", "std"),
        ("distribution.log_std_param", "log_std"),
    ):
        if name.startswith(old):
            return new + name.removeprefix(old)
    return name if name in ("std", "log_std") else f"{part}/{name}"


def _tensors(value: Mapping[str, Any], name: str, path: Path) -> dict[str, np.ndarray]:
    found = value.get(name)
    if not isinstance(found, dict) or not all(
        isinstance(key, str) and isinstance(array, np.ndarray) for key, array in found.items()
    ):
        raise RefusedError(path, f"{name} is no state dict: tensors by name")
    return found


def _some(value: Mapping[Any, Any]) -> str:
    return ", ".join(str(name)[:40] for name in list(value)[:5]) or "nothing"


def _deviation(arrays: Arrays, actions: int, path: Path) -> np.ndarray:
    """The logarithm of the standard deviation of each action."""
    for name in arrays:
        known = name.startswith(("actor.", "critic.", "actor_norm.", "critic_norm."))
        if not known and name not in ("std", "log_std"):
            raise RefusedError(
                path,
                f"has {name}, which is no part of rsl_rl's networks of dense layers: networks "
                "with memory or convolutions, students and teachers are not read",
            )
    found = arrays.get("log_std", arrays.get("std"))
    if found is None:
        raise RefusedError(
            path,
            "has no standard deviation (std, log_std): its noise depends on what is seen, or "
            "follows a beta distribution, which heredity has no family for",
        )
    if found.shape != (actions,):
        raise RefusedError(path, f"has deviations of shape {found.shape}, {actions} actions")
    if "log_std" in arrays:
        return np.asarray(found, np.float32)
    return log_of_deviation(found, path, "std")


def _statistics(
    arrays: Arrays, prefix: str, features: int, path: Path
) -> dict[str, np.ndarray] | None:
    """Statistics by which heredity normalises as the file's are used; None if there are none."""
    names = [f"{prefix}{part}" for part in ("mean", "std", "count")]
    if not any(name.startswith(prefix) for name in arrays):
        return None
    if not all(name in arrays for name in names):
        raise RefusedError(path, f"has statistics that are not whole ({prefix}*)")
    mean, deviation, count = (arrays[name] for name in names)
    if mean.shape != (1, features) or deviation.shape != (1, features):
        raise RefusedError(path, f"has statistics of shape {mean.shape}, {features} features")
    variance = np.square(np.asarray(deviation[0], np.float64) + _EPSILON)
    return statistics(mean[0], variance, count)


def _check_same(
    arrays: Arrays, actor: tuple[int, ...], critic: tuple[int, ...], path: Path
) -> None:
    """See that the critic can read what the actor reads."""
    problem = ""
    if critic[-1] != 1:
        problem = f"the critic puts out {critic[-1]} numbers"
    elif actor[0] != critic[0]:
        problem = f"the actor reads {actor[0]} features, the critic {critic[0]}"
    for part in ("mean", "std"):
        ours, others = (arrays.get(f"{name}_norm.{part}") for name in ("actor", "critic"))
        if ours is None and others is None:
            continue
        if ours is None or others is None or not np.allclose(ours, others, rtol=1e-5, atol=1e-6):
            problem = "actor and critic normalise by statistics that differ"
    if problem:
        raise RefusedError(path, f"--critic same: {problem}", "Leave it out: --critic drop")
