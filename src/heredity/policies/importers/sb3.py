"""Policies of Stable-Baselines3: PPO and A2C, and the actors of SAC."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from heredity.common.errors import RefusedError, UsageError
from heredity.networks import CnnOptions, DistributionSpec, MlpOptions, NetworkSpec
from heredity.networks.cnn import NATURE
from heredity.networks.distributions import default_kind
from heredity.networks.observations import feature_size, leaf_spaces
from heredity.policies.importers.making import (
    ACTOR_SCALE,
    Imported,
    Plan,
    chain_rules,
    check_arrays,
    counter,
    dense_widths,
    fingerprint,
    made,
    numbered,
    statistics,
    statistics_rules,
)
from heredity.policies.importers.options import NO_NORMALIZER, Demands, ImportOptions
from heredity.policies.importers.sb3_file import Sb3File, read_sb3, read_vec_normalize
from heredity.policies.specification import PolicySpec
from heredity.spaces import Box, Dict, Space
from heredity.weights import Rule
from heredity.weights.reading import Record
from heredity.weights.rules import LINEAR, Layout, conv, drop, linear

_PARTS = ("features_extractor", "pi_features_extractor", "vf_features_extractor")


@dataclasses.dataclass(frozen=True)
class _Networks:
    """Specifications of the networks, and the rules that fill them."""

    actor: NetworkSpec
    critic: NetworkSpec | None
    trunk: NetworkSpec | None
    rules: tuple[Rule, ...]
    notes: tuple[str, ...] = ()


def import_sb3(path: Path, options: ImportOptions) -> Imported:
    """The policy in a zip that PPO, A2C or SAC saved. See docs/importing.md.

    Args:
        path: The zip.
        options: ``observation_names`` (for vectors) and ``normalizer`` are asked for.

    Raises:
        RefusedError: when the file is broken, or has what heredity cannot express.
        UsageError: when something that the file does not say is missing.
    """
    its_bytes = fingerprint(path, options)
    file = read_sb3(path)
    _check_expressible(file)
    seen = _seen(file)
    networks = _sac(file, seen) if file.kind == "sac" else _actor_critic(file, seen)
    check_arrays(path, file.arrays, networks.rules)
    demands = Demands(path, options)
    told = "'none', or the VecNormalize pickle that was saved beside it"
    normalizer = demands.ask("normalizer", f"how observations were normalised: {told}")
    normalizer = None if normalizer in (None, NO_NORMALIZER) else Path(normalizer)
    # Read before anything is found missing.
    normalized = None if normalizer is None else _normalized(normalizer, seen, networks)
    seen = _named(seen, demands)
    demands.check()
    spec = PolicySpec(
        observation_space=seen,
        action_space=file.action_space,
        actor=networks.actor,
        critic=networks.critic,
        trunk=networks.trunk,
        distribution=DistributionSpec(
            "squashed_normal" if file.kind == "sac" else default_kind(file.action_space)
        ),
        environment=options.environment,
        algorithm=file.kind,
    )
    source, rules = dict(file.arrays), networks.rules
    if normalized is not None:
        spec = dataclasses.replace(spec, **normalized.settings)
        source |= normalized.source
        rules = (*rules, *normalized.rules)
    plan = Plan(
        spec,
        source,
        rules,
        library=f"stable-baselines3 {file.version}".strip(),
        step=file.step,
        notes=networks.notes,
        recorded=file.recorded,
    )
    return made(its_bytes, "sb3", plan, options)


def _check_expressible(file: Sb3File) -> None:
    """Refuse what would act differently here."""
    if file.use_sde or file.settings.get("use_sde"):
        raise RefusedError(
            file.path,
            "explores with generalised state-dependent noise (use_sde); heredity has no such "
            "distribution, and leaving the noise out would make another policy of it",
        )
    if file.kind == "sac" and not isinstance(file.action_space, Box):
        raise RefusedError(file.path, "is a SAC policy without a Box of actions")
    if isinstance(file.action_space, Box):
        bounds = np.asarray(file.action_space.low), np.asarray(file.action_space.high)
        if len(file.action_space.shape) != 1 or not file.action_space.dtype.startswith("float"):
            raise RefusedError(
                file.path, f"acts in {file.action_space}: a float Box with one axis was expected"
            )
        if file.kind == "sac" and not all(np.isfinite(bound).all() for bound in bounds):
            raise RefusedError(file.path, "is a SAC policy whose actions have no bounds")


def _seen(file: Sb3File) -> Space:
    """The observation space as heredity has it: pictures are (height, width, channels)."""
    space = file.observation_space
    extractor = file.setting("features_extractor_class", "")
    has_pictures = any("cnn.0.weight" in name for name in file.arrays)
    if isinstance(space, Dict):
        for name, leaf in leaf_spaces(space, "").items():
            if "/" in name or (isinstance(leaf, Box) and len(leaf.shape) == 3 and has_pictures):
                raise RefusedError(
                    file.path,
                    f"sees {name} within a Dict by a CombinedExtractor with pictures, which no "
                    "network of heredity's computes",
                )
            _check_undivided(file, leaf)
        return space
    if not has_pictures:
        _check_undivided(file, space)
        return space
    if extractor not in ("", "NatureCNN") or not isinstance(space, Box) or len(space.shape) != 3:
        raise RefusedError(file.path, f"sees {space} by {extractor or 'convolutions'}")
    if space.dtype != "uint8" or file.settings.get("normalize_images") is False:
        raise RefusedError(
            file.path,
            f"sees pictures {space} that are not bytes divided by 255 (normalize_images)",
        )
    channels, height, width = space.concrete_shape
    return Box((height, width, channels), 0, 255, "uint8")


def _check_undivided(file: Sb3File, space: Space) -> None:
    """Refuse pictures that dense layers read: `preprocess_obs` divides them by 255 before."""
    is_picture = (
        isinstance(space, Box)
        and len(space.shape) == 3
        and space.dtype == "uint8"
        and not np.any(np.asarray(space.low) != 0)
        and not np.any(np.asarray(space.high) != 255)
    )
    if is_picture and file.settings.get("normalize_images") is not False:
        raise RefusedError(
            file.path,
            f"sees pictures {space} by dense layers, which Stable-Baselines3 divides by 255 "
            "first (normalize_images); no dense network of heredity's does",
            "Train it with CnnPolicy",
        )


def _named(space: Space, demands: Demands) -> Space:
    """The space with names for the columns of vectors."""
    if isinstance(space, Box) and len(space.shape) == 1:
        return dataclasses.replace(space, names=demands.names(space.concrete_shape[0]))
    if not isinstance(space, Dict):
        return space
    vectors = {
        name: leaf for name, leaf in space.entries if isinstance(leaf, Box) and len(leaf.shape) == 1
    }
    sizes = [leaf.concrete_shape[0] for leaf in vectors.values()]
    names = demands.names(sum(sizes)) if vectors else ()
    parts = dict(space.entries)
    for (name, leaf), size in zip(vectors.items(), sizes, strict=True):
        parts[name] = dataclasses.replace(leaf, names=names[:size])
        names = names[size:]
    return Dict(parts)


# --- networks -------------------------------------------------------------------------------------


def _actor_critic(file: Sb3File, seen: Space) -> _Networks:
    """Those of PPO and A2C: features, two stacks of dense layers, two last layers."""
    arrays, path = file.arrays, file.path
    if any(name.startswith("mlp_extractor.shared_net.") for name in arrays):
        raise RefusedError(
            path,
            "has layers that actor and critic share after the features (before "
            "Stable-Baselines3 1.8); heredity would compute them twice",
        )
    layers = {
        "actor": [*numbered(arrays, "mlp_extractor.policy_net."), "action_net"],
        "critic": [*numbered(arrays, "mlp_extractor.value_net."), "value_net"],
    }
    for name in ("action_net", "value_net"):
        if f"{name}.weight" not in arrays:
            raise RefusedError(path, f"has no {name}.weight")
    hidden = {name: dense_widths(arrays, chain, path)[1:-1] for name, chain in layers.items()}
    specs = {
        name: MlpOptions(
            hidden=widths,
            activation=file.activation,
            output_scale=ACTOR_SCALE if name == "actor" else 1.0,
        ).spec()
        for name, widths in hidden.items()
    }
    rules = [*chain_rules(layers["actor"], "actor"), *chain_rules(layers["critic"], "critic")]
    if "log_std" in arrays:
        rules.append(Rule("log_std", "actor/log_std"))
    if not any("cnn.0.weight" in name for name in arrays):
        order = _feature_order(file, seen)
        if order is not None:
            rules = [_permuted(rule, layers, order) for rule in rules]
        return _Networks(specs["actor"], specs["critic"], None, tuple(rules))
    kept = "pi_features_extractor" if f"{_PARTS[1]}.cnn.0.weight" in arrays else _PARTS[0]
    trunk, trunk_rules = _nature(file, seen, kept)
    # When actor and critic share the features, they are in the file under several names.
    others = tuple(Rule(f"{part}.{{*rest}}") for part in _PARTS if part != kept)
    shared = all(
        np.array_equal(array, arrays.get(name.replace(kept, _PARTS[2], 1), array))
        for name, array in arrays.items()
        if name.startswith(f"{kept}.")
    )
    if shared:
        note = f"features are shared: they were taken from {kept}"
        rules = (*trunk_rules, *others, *rules)
        return _Networks(specs["actor"], specs["critic"], trunk, rules, (note,))
    note = "the critic has features of its own and was left out; the actor alone was imported"
    left_out = drop("value_net.{*rest}", "mlp_extractor.value_net.{*rest}")
    actor_rules = [rule for rule in rules if not rule.targets[0].startswith("critic/")]
    rules = (*trunk_rules, *others, *left_out, *actor_rules)
    return _Networks(specs["actor"], None, trunk, rules, (note,))


def _sac(file: Sb3File, seen: Space) -> _Networks:
    """The actor of SAC: features, dense layers, and two last layers that become one."""
    arrays, path = file.arrays, file.path
    hidden = numbered(arrays, "actor.latent_pi.")
    for name in ("actor.mu", "actor.log_std"):
        if f"{name}.weight" not in arrays:
            raise RefusedError(path, f"has no {name}.weight")
    widths = dense_widths(arrays, [*hidden, "actor.mu"], path)[1:-1]
    last = ("actor.mu", "actor.log_std")
    rules = [
        *(
            rule
            for index, layer in enumerate(hidden)
            for rule in linear(layer, f"actor/hidden_{index}")
        ),
        Rule(tuple(f"{name}.weight" for name in last), "actor/output/kernel", LINEAR),
        Rule(tuple(f"{name}.bias" for name in last), "actor/output/bias"),
    ]
    trunk = None
    if any("cnn.0.weight" in name for name in arrays):
        trunk, trunk_rules = _nature(file, seen, "actor.features_extractor")
        rules = [*trunk_rules, *rules]
    else:
        order = _feature_order(file, seen)
        if order is not None:
            rules = [_permuted(rule, {"actor": [*hidden, "actor.mu"]}, order) for rule in rules]
    left_out = drop("critic.{*rest}", "critic_target.{*rest}", "log_ent_coef")
    note = "SAC's critics judge actions, not states: they have no place in a policy here"
    spec = MlpOptions(hidden=widths, activation=file.activation).spec()
    return _Networks(spec, None, trunk, (*rules, *left_out), (note,))


def _nature(file: Sb3File, seen: Space, prefix: str) -> tuple[NetworkSpec, tuple[Rule, ...]]:
    """NatureCNN as a trunk: three convolutions and a dense layer."""
    assert isinstance(seen, Box)
    arrays, path = file.arrays, file.path
    height, width, channels = seen.concrete_shape
    for text in NATURE:
        kernel, stride = (int(part) for part in text.split("x")[1].split("/"))
        if min(height, width) < kernel:
            raise RefusedError(path, f"sees pictures {seen}, too small for its convolutions")
        height, width = (height - kernel) // stride + 1, (width - kernel) // stride + 1
        channels = int(text.split("x")[0])
    weight = arrays.get(f"{prefix}.linear.0.weight")
    if weight is None or weight.ndim != 2 or weight.shape[1] != channels * height * width:
        raise RefusedError(path, f"has no {prefix}.linear.0.weight after its convolutions")
    shape = (channels, height, width)

    def reordered(array: np.ndarray) -> np.ndarray:
        whole = array.reshape(len(array), *shape).transpose(2, 3, 1, 0)
        return whole.reshape(math.prod(shape), len(array))

    layout = Layout(
        "(out, channels·height·width) to (height·width·channels, out)", "permuted", reordered, (2,)
    )
    options = CnnOptions(hidden=(len(weight),), activation="relu", convolutions=NATURE)
    rules = [
        *(
            rule
            for index in range(3)
            for rule in conv(f"{prefix}.cnn.{2 * index}", f"trunk/image/convolution_{index}")
        ),
        Rule(f"{prefix}.linear.0.weight", "trunk/joined/hidden_0/kernel", layout),
        Rule(f"{prefix}.linear.0.bias", "trunk/joined/hidden_0/bias"),
    ]
    return options.spec(), tuple(rules)


def _feature_order(file: Sb3File, seen: Space) -> np.ndarray | None:
    """Where each feature of ours is among those of the file; None where they are in one order."""
    if not isinstance(seen, Dict) or list(file.order) == [name for name, _ in seen.entries]:
        return None
    sizes = {name: feature_size(Dict({name: part})) for name, part in seen.entries}
    starts, total = {}, 0
    for name in file.order:
        starts[name], total = total, total + sizes[name]
    return np.concatenate(
        [np.arange(starts[name], starts[name] + sizes[name]) for name, _ in seen.entries]
    )


def _permuted(rule: Rule, chains: Mapping[str, list[str]], order: np.ndarray) -> Rule:
    """The rule of a first layer with its rows in the order of our features."""
    if rule.sources[0] not in {f"{chain[0]}.weight" for chain in chains.values()}:
        return rule

    def rows(array: np.ndarray) -> np.ndarray:
        if array.shape[1] != len(order):
            raise UsageError(f"{rule.sources[0]} reads {array.shape[1]} features")
        return array.T[order]

    layout = Layout("(out, in) to (in, out), entries sorted by name", "permuted", rows, (2,))
    return dataclasses.replace(rule, layout=layout)


# --- normalisation --------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class _Normalized:
    settings: Mapping[str, Any]
    source: Mapping[str, np.ndarray]
    rules: tuple[Rule, ...]


def _normalized(path: Path, seen: Space, networks: _Networks) -> _Normalized:
    """What a VecNormalize adds to a policy."""
    state = read_vec_normalize(path)
    source: dict[str, np.ndarray] = {}
    rules: list[Rule] = []
    settings: dict[str, Any] = {}
    for flag in ("norm_obs", "norm_reward"):
        if not isinstance(state.get(flag), bool):
            raise RefusedError(path, f"{flag} is no truth value")
    try:
        if state["norm_obs"]:
            leaves = leaf_spaces(seen)
            kept = state.get("norm_obs_keys")
            for entry, leaf in leaves.items():
                floats = isinstance(leaf, Box) and leaf.dtype.startswith("float")
                name = entry.partition("/")[2]
                if floats != (kept is None or name in kept):
                    told = "is not normalised" if floats else "is normalised"
                    raise RefusedError(path, f"{entry} {told}, unlike what heredity does to it")
                if not isinstance(leaf, Box) or not floats:
                    continue
                found = state["obs_rms"][name] if name else state["obs_rms"]
                mean, variance, count = _moments(found, path)
                if mean.shape != leaf.concrete_shape:
                    raise RefusedError(
                        path,
                        f"has statistics of shape {mean.shape}, {entry} has {leaf.concrete_shape}",
                    )
                source |= statistics(mean, variance, count, entry)
                rules += statistics_rules(entry)
            settings |= {
                "normalize_observations": True,
                "observation_clip": _positive(state["clip_obs"], path, "clip_obs"),
                "observation_epsilon": _positive(state["epsilon"], path, "epsilon"),
            }
        if state["norm_reward"] and networks.critic is not None:
            _, variance, count = _moments(state["ret_rms"], path)
            source["reward: variance"] = np.asarray(variance)
            source["reward: mean"] = np.zeros(())
            source["reward: count"] = counter(count, ())
            rules += statistics_rules("reward")
            settings["normalize_rewards"] = True
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise RefusedError(path, f"is not a whole VecNormalize ({error!r})") from None
    return _Normalized(settings, source, tuple(rules))


def _moments(value: Any, path: Path) -> tuple[np.ndarray, np.ndarray, float]:
    if not isinstance(value, Record):
        raise RefusedError(path, "has statistics that are no RunningMeanStd")
    mean, variance = (np.asarray(value[name], np.float64) for name in ("mean", "var"))
    if mean.shape != variance.shape or not (variance >= 0).all():
        raise RefusedError(path, "has statistics that do not fit each other")
    return mean, variance, float(np.asarray(value["count"]))


def _positive(value: Any, path: Path, name: str) -> float:
    number = float(np.asarray(value))
    if not 0 < number < math.inf:
        raise RefusedError(path, f"has {name} {number}: a number above zero was expected")
    return number
