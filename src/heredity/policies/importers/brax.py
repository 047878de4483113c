"""Policies of brax's PPO: checkpoint folders, and older pickles of the parameters alone."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from heredity.common.errors import RefusedError
from heredity.common.reading import read_bytes
from heredity.networks import DistributionSpec, MlpOptions
from heredity.policies.importers.making import (
    Arrays,
    Imported,
    Plan,
    check_arrays,
    fingerprint,
    log_of_deviation,
    made,
    statistics,
    statistics_rules,
    whole_number,
)
from heredity.policies.importers.options import (
    NO_NORMALIZER,
    OWN_NORMALIZER,
    Demands,
    ImportOptions,
)
from heredity.policies.specification import PolicySpec
from heredity.spaces import Box, Dict, Space
from heredity.weights import Rule
from heredity.weights.reading import Record, arrays_by_path, read_orbax, read_pickle
from heredity.weights.reading.limits import MOST_PICKLE
from heredity.weights.reading.orbax import METADATA, read_json
from heredity.weights.rules import drop

CONFIG = "ppo_network_config.json"
_NO_CLIP = 1e30  # brax does not clip what it normalised
_ACTIVATIONS = {
    "silu": "swish",
    **{name: name for name in ("elu", "gelu", "leaky_relu", "relu", "selu", "swish", "tanh")},
}
_RECORDS = frozenset(
    (
        "brax.training.acme.running_statistics.RunningStatisticsState",
        "brax.training.acme.running_statistics.NormalizationMode",
        "brax.training.agents.ppo.losses.PPONetworkParams",
        "brax.training.types.UInt64",
        "flax.core.frozen_dict.FrozenDict",
    )
)


@dataclasses.dataclass(frozen=True)
class _Content:
    """What a checkpoint or a pickle says.

    Args:
        arrays: By path: ``0/…`` statistics, ``1/…`` policy, ``2/…`` value.
        config: The JSON beside them; None where there is none.
        step: Of the checkpoint.
    """

    arrays: Arrays
    config: Mapping[str, Any] | None
    step: int


@dataclasses.dataclass(frozen=True)
class _Layers:
    """Dense layers of one network: their paths and widths."""

    paths: tuple[str, ...]
    widths: tuple[int, ...]

    def rules(self, target: str) -> tuple[Rule, ...]:
        """From these layers to ours, which are laid out alike."""
        names = [*(f"hidden_{index}" for index in range(len(self.paths) - 1)), "output"]
        return tuple(
            Rule(f"{path}/{part}", f"{target}/{name}/{part}")
            for path, name in zip(self.paths, names, strict=True)
            for part in ("kernel", "bias")
        )


def import_brax(path: Path, options: ImportOptions) -> Imported:
    """The policy in a folder that `ppo.checkpoint.save` wrote, or in a pickle of its parameters.

    Args:
        path: The folder of one step, or the pickle.
        options: ``observation_names`` are asked for; of a pickle, which says less, also
            ``activation`` and ``normalizer`` (``file`` or ``none``).

    Raises:
        RefusedError: when the file is broken, or has what heredity cannot express.
        UsageError: when something that the file does not say is missing.
    """
    its_bytes = fingerprint(path, options)
    content = _read_folder(path) if path.is_dir() else _read_pickled(path)
    arrays, config = content.arrays, content.config or {}
    settings = _settings(config, path)
    is_normal = any(name.startswith("1/params/MLP_0/") for name in arrays)
    actor = _layers(arrays, "1/params/MLP_0/" if is_normal else "1/params/", path)
    if is_normal:
        actor = _followed(actor, arrays, "1/params/Dense_0", path)
    critic = _layers(arrays, "2/params/", path) if _has(arrays, "2/params/hidden_0/") else None
    actions = actor.widths[-1] if is_normal else actor.widths[-1] // 2
    if not is_normal and actor.widths[-1] % 2:
        raise RefusedError(path, f"puts out {actor.widths[-1]} numbers: a mean and a scale each")
    source, rules = _used(arrays, actor, critic)
    if is_normal:
        source["log(std)"] = _deviation(arrays, actions, path)
        rules.append(Rule("log(std)", "actor/log_std"))
    else:
        _refuse_others(arrays, actor, path)
    check_arrays(path, source, rules)
    demands = Demands(path, options)
    activation = _activation(settings, demands, path)
    is_normalized = _is_normalized(config, demands, path)
    keys = [str(settings.get(f"{part}_obs_key", "state")) for part in ("policy", "value")]
    sizes = _sizes(config, arrays, actor, path)
    seen = demands.seen(sizes.get("", sizes.get(keys[0], 0)))
    notes = []
    if critic is not None and critic.widths[-1] != 1:
        notes.append("a critic of quantiles was left out")
        critic = None
    _check_widths(sizes, keys, actor, critic, path)
    if is_normalized:
        found, more = _statistics(arrays, sizes, path)
        source, rules = source | found, [*rules, *more]
        notes.append("variances are std², by which brax divides, with nothing added")
    demands.check()
    spaces: dict[str, Space] = {
        name: seen if name in ("", keys[0]) else Box((size,)) for name, size in sizes.items()
    }
    is_dict = "" not in sizes
    spec = PolicySpec(
        observation_space=Dict(spaces) if is_dict else spaces[""],
        action_space=(Box((actions,)) if is_normal else Box((actions,), -1.0, 1.0)),
        actor=_network(actor, activation, keys[0] if is_dict else ""),
        critic=None if critic is None else _network(critic, activation, keys[1] if is_dict else ""),
        distribution=DistributionSpec("normal" if is_normal else "tanh_normal"),
        normalize_observations=is_normalized,
        observation_clip=_NO_CLIP if is_normalized else 10.0,
        observation_epsilon=0.0 if is_normalized else 1e-8,
        environment=options.environment,
        algorithm="ppo",
    )
    if critic is None:
        rules = [rule for rule in rules if not str(rule.targets[:1]).startswith("('critic/")]
        rules += drop("2/{*rest}") if _has(source, "2/") else ()
    plan = Plan(spec, source, rules, "brax", step=content.step, notes=tuple(notes))
    return made(its_bytes, "brax", plan, options)


# --- reading --------------------------------------------------------------------------------------


def _read_folder(path: Path) -> _Content:
    if not (path / METADATA).exists():
        steps = sorted(part.name for part in path.iterdir() if part.name.isdecimal())
        told = f"Name one of its steps: {', '.join(steps[-5:])}" if steps else ""
        raise RefusedError(path, f"is no checkpoint: it has no {METADATA}", told)
    arrays = read_orbax(path)
    config = read_json(path / CONFIG) if (path / CONFIG).exists() else None
    if config is not None and not isinstance(config, Mapping):
        raise RefusedError(path / CONFIG, "is no JSON object")
    step = int(path.name) if re.fullmatch(r"\d{1,18}", path.name) else 0
    return _Content(arrays, config, step)


def _read_pickled(path: Path) -> _Content:
    content = read_bytes(path, MOST_PICKLE)
    value = read_pickle(content, path, records=_RECORDS)
    parts = list(value) if isinstance(value, list | tuple) else []
    # Between 0.10.5 and 0.12, callbacks were given policy and value in one object.
    if len(parts) == 2 and isinstance(parts[1], Record) and isinstance(parts[1].state, Mapping):
        parts[1:] = [parts[1].state.get("policy"), parts[1].state.get("value")]
    if not 2 <= len(parts) <= 3:
        raise RefusedError(path, "is no tuple of statistics, policy and value, as brax pickles")
    return _Content(arrays_by_path([_without_records(part) for part in parts]), None, 0)


def _without_records(value: Any) -> Any:
    """Dicts in place of the classes that brax and Flax had for them."""
    if isinstance(value, Record):
        inner = value.state if value.state is not None else (value.arguments or (None,))[0]
        return _without_records(inner)
    if isinstance(value, Mapping):
        return {name: _without_records(part) for name, part in value.items()}
    return value


def _settings(config: Mapping[str, Any], path: Path) -> Mapping[str, Any]:
    """The arguments of the network factory, without those that heredity cannot express."""
    settings = config.get("network_factory_kwargs", {})
    if not isinstance(settings, Mapping):
        raise RefusedError(path / CONFIG, "has network_factory_kwargs that are no object")
    if settings.get("mean_clip_scale") is not None:
        raise RefusedError(path, "has means squeezed by mean_clip_scale, which no family here does")
    if settings.get("state_dependent_std"):
        raise RefusedError(path, "has noise that depends on what is seen; no family here has")
    return settings


# --- networks -------------------------------------------------------------------------------------


def _has(arrays: Mapping[str, Any], prefix: str) -> bool:
    return any(name.startswith(prefix) for name in arrays)


def _layers(arrays: Arrays, prefix: str, path: Path) -> _Layers:
    """The layers ``hidden_0``, ``hidden_1``, … below a prefix."""
    layers = _Layers((), ())
    while f"{prefix}hidden_{len(layers.paths)}/kernel" in arrays:
        layers = _followed(layers, arrays, f"{prefix}hidden_{len(layers.paths)}", path)
    if not layers.paths:
        raise RefusedError(path, f"has no {prefix}hidden_0/kernel: dense layers were expected")
    return layers


def _followed(layers: _Layers, arrays: Arrays, name: str, path: Path) -> _Layers:
    """These layers and one more."""
    kernel, bias = arrays.get(f"{name}/kernel"), arrays.get(f"{name}/bias")
    if kernel is None or bias is None or kernel.ndim != 2 or bias.shape != kernel.shape[1:]:
        raise RefusedError(path, f"{name} is no dense layer with kernel and bias")
    if layers.widths and layers.widths[-1] != kernel.shape[0]:
        raise RefusedError(path, f"{name}/kernel has shape {kernel.shape}, which does not fit")
    widths = layers.widths or (int(kernel.shape[0]),)
    return _Layers((*layers.paths, name), (*widths, int(kernel.shape[1])))


def _used(
    arrays: Arrays, actor: _Layers, critic: _Layers | None
) -> tuple[dict[str, np.ndarray], list[Rule]]:
    rules = [*actor.rules("actor"), *(critic.rules("critic") if critic else ())]
    source = {name: array for name, array in arrays.items() if not name.startswith("0/")}
    return {n: a for n, a in source.items() if "/std_" not in n}, rules


def _refuse_others(arrays: Arrays, actor: _Layers, path: Path) -> None:
    """Refuse a policy that has more than its dense layers."""
    for name in arrays:
        if name.startswith("1/") and name.rpartition("/")[0] not in actor.paths:
            raise RefusedError(
                path, f"has {name}: policies of dense layers alone are read, without pictures"
            )


def _deviation(arrays: Arrays, actions: int, path: Path) -> np.ndarray:
    """The logarithm of the standard deviation of each action, of the kind ``normal``."""
    for name, array in arrays.items():
        if not name.startswith("1/params/std_") or array.shape[-1:] != (actions,):
            continue
        if "logparam" in name:
            return np.asarray(array, np.float32).reshape(actions)
        return log_of_deviation(array.reshape(actions), path, name)
    raise RefusedError(path, "has no standard deviation: its noise depends on what is seen")


def _network(layers: _Layers, activation: str, reads: str) -> Any:
    # As brax begins them, which our settings can say as well.
    spec = MlpOptions(
        hidden=layers.widths[1:-1],
        activation=activation,
        kernel_init="lecun_uniform",
        hidden_scale=1.0,
    ).spec()
    return dataclasses.replace(spec, reads=(reads,) if reads else ())


# --- what the configuration says, or a person -----------------------------------------------------


def _activation(settings: Mapping[str, Any], demands: Demands, path: Path) -> str:
    told = settings.get("activation")
    if told is None:
        return demands.ask("activation", "the function after each hidden layer; brax's own: swish")
    if not isinstance(told, str) or told not in _ACTIVATIONS:
        raise RefusedError(path, f"has the activation {str(told)[:80]!r}, which heredity has not")
    return demands.known("activation", _ACTIVATIONS[told])


def _is_normalized(config: Mapping[str, Any], demands: Demands, path: Path) -> bool:
    told = config.get("normalize_observations")
    if told is None:
        meaning = "'file' if observations were normalised by its statistics, 'none' if not"
        choice = demands.ask("normalizer", meaning)
        if choice not in (None, NO_NORMALIZER, OWN_NORMALIZER):
            raise RefusedError(path, f"has its statistics in it: {meaning}")
        return choice == OWN_NORMALIZER
    demands.known("normalizer", OWN_NORMALIZER if told else NO_NORMALIZER)
    return bool(told)


def _sizes(config: Mapping[str, Any], arrays: Arrays, actor: _Layers, path: Path) -> dict[str, int]:
    """How many features each entry of the observation has; ``""`` for one that is no dict."""
    told = config.get("observation_size")
    if told is None:
        named = {name.split("/")[2]: name for name in arrays if re.fullmatch(r"0/mean/[^/]+", name)}
        if not named:
            return {"": actor.widths[0]}
        raise RefusedError(
            path, "sees a dict, and nothing says which entries policy and value read"
        )
    if isinstance(told, int):
        return {"": told}
    found = {}
    for name, shape in told.items() if isinstance(told, Mapping) else ():
        sizes = [shape] if isinstance(shape, int) else shape
        if not isinstance(sizes, list) or not all(isinstance(n, int) and n > 0 for n in sizes):
            raise RefusedError(path / CONFIG, "has an observation_size that says no sizes")
        if len(sizes) != 1 or "/" in name or not name:
            raise RefusedError(path, f"sees {name[:80]!r} of shape {sizes}: vectors alone are read")
        found[name] = math.prod(sizes)
    if not found:
        raise RefusedError(path / CONFIG, "has an observation_size that says no sizes")
    return found


def _check_widths(
    sizes: Mapping[str, int],
    keys: list[str],
    actor: _Layers,
    critic: _Layers | None,
    path: Path,
) -> None:
    """See that each network reads what the configuration says."""
    for key, network in zip(keys, (actor, critic), strict=True):
        size = sizes.get("", sizes.get(key))
        if network is not None and network.widths[0] != size:
            raise RefusedError(
                path, f"has a network that reads {network.widths[0]} features of {key}: {size}"
            )


def _statistics(
    arrays: Arrays, sizes: Mapping[str, int], path: Path
) -> tuple[dict[str, np.ndarray], list[Rule]]:
    """Statistics by which heredity normalises as brax does."""
    found: dict[str, np.ndarray] = {}
    rules: list[Rule] = []
    low = arrays.get("0/count/lo", arrays.get("0/count"))
    high = arrays.get("0/count/hi", np.zeros((), np.uint32))
    count = 0 if low is None else whole_number(high) * 2**32 + whole_number(low)
    for key, size in sizes.items():
        inner = f"/{key}" if key else ""
        mean, deviation = arrays.get(f"0/mean{inner}"), arrays.get(f"0/std{inner}")
        if mean is None or deviation is None or {mean.shape, deviation.shape} != {(size,)}:
            raise RefusedError(path, f"has no statistics of {size} features for {key or 'them'}")
        if not (deviation > 0).all():
            raise RefusedError(path, "has a deviation that is not above zero")
        entry = f"observation{inner}"
        found |= statistics(mean, np.square(np.asarray(deviation, np.float64)), count, entry)
        rules += statistics_rules(entry)
    return found, rules
