"""What a Stable-Baselines3 zip says, without running the pickles that are in it."""

from __future__ import annotations

import base64
import binascii
import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from heredity.common.errors import HeredityError, RefusedError
from heredity.common.reading import read_bytes
from heredity.spaces import Box, Dict, Discrete, MultiDiscrete, Space
from heredity.weights.reading import Record, read_pickle, read_torch
from heredity.weights.reading.limits import MOST_STRUCTURE
from heredity.weights.reading.zips import open_zip

_SPACES = {
    f"{package}.spaces.{module}.{name}": name
    for package in ("gymnasium", "gym")
    for module, name in (
        ("box", "Box"),
        ("discrete", "Discrete"),
        ("multi_discrete", "MultiDiscrete"),
        ("multi_binary", "MultiBinary"),
        ("dict", "Dict"),
        ("tuple", "Tuple"),
    )
}
# The generator of random numbers that a space carries along.
_RANDOM = {
    *(f"numpy.random._pickle.__{kind}_ctor" for kind in ("generator", "bit_generator")),
    "numpy.random._pickle.__randomstate_ctor",
    "numpy.random._pcg64.PCG64",
    "numpy.random._mt19937.MT19937",
    "numpy.random.bit_generator.__pyx_unpickle_SeedSequence",
    "numpy.random.bit_generator.SeedSequence",
    "gym.utils.seeding.RandomNumberGenerator._generator_ctor",
}
SPACE_RECORDS = frozenset({*_SPACES, *_RANDOM})

_ACTIVATIONS = {
    "Tanh": "tanh",
    "ReLU": "relu",
    "ELU": "elu",
    "SiLU": "swish",
    "LeakyReLU": "leaky_relu",
    "SELU": "selu",
}
_LAYERS = "stable_baselines3.common.torch_layers"
_KNOWN_CLASSES = frozenset(
    {
        *(f"torch.nn.modules.activation.{name}" for name in _ACTIVATIONS),
        *(
            f"torch.optim.{name.lower()}.{name}"
            for name in ("Adam", "AdamW", "RMSprop", "SGD", "Adamax")
        ),
        *(f"{_LAYERS}.{name}" for name in ("FlattenExtractor", "NatureCNN", "CombinedExtractor")),
        "stable_baselines3.common.sb2_compat.rmsprop_tf_like.RMSpropTFLike",
    }
)
_POLICIES = {
    **{
        f"stable_baselines3.common.policies.{name}": "ppo"  # those of A2C as well
        for name in (
            "ActorCriticPolicy",
            "ActorCriticCnnPolicy",
            "MultiInputActorCriticPolicy",
        )
    },
    **{
        f"stable_baselines3.sac.policies.{name}": "sac"
        for name in ("SACPolicy", "CnnPolicy", "MultiInputPolicy")
    },
}


@dataclasses.dataclass(frozen=True)
class Sb3File:
    """The content of a zip.

    Args:
        path: Of the file.
        version: Of Stable-Baselines3; empty if it is not told.
        kind: ``ppo`` (and A2C, whose networks are the same) or ``sac``.
        observation_space: As it is written there: pictures are (channels, height, width).
        action_space: As it is written there.
        order: Of the entries of a `Dict` observation, in which features are joined.
        settings: ``policy_kwargs``, where classes are their names.
        arrays: The state dict of the policy.
        step: Environment steps.
        recorded: Return of the last episodes of training; None if there are none.
        use_sde: Whether it explores with generalised state-dependent noise.
    """

    path: Path
    version: str
    kind: str
    observation_space: Space
    action_space: Space
    order: tuple[str, ...]
    settings: Mapping[str, Any]
    arrays: Mapping[str, np.ndarray]
    step: int
    recorded: Mapping[str, Any] | None
    use_sde: bool

    @property
    def activation(self) -> str:
        """Of the layers after the feature extractor, as the file says or as is the default.

        Raises:
            RefusedError: when it is none of ours.
        """
        name = self.setting("activation_fn", "ReLU" if self.kind == "sac" else "Tanh")
        if name not in _ACTIVATIONS:
            raise RefusedError(self.path, f"has the activation {name[:80]}, which heredity has not")
        return _ACTIVATIONS[name]

    def setting(self, name: str, default: str) -> str:
        """The last part of the name of a class among the settings."""
        return str(self.settings.get(name, default)).rpartition(".")[2]


def read_sb3(path: Path) -> Sb3File:
    """Read a zip that `save` of PPO, A2C or SAC wrote.

    Raises:
        RefusedError: when it is broken, of another algorithm, or has networks of a class that is
            not Stable-Baselines3's.
    """
    with open_zip(path) as archive:
        for name in ("data", "policy.pth"):
            if name not in archive.names:
                raise RefusedError(path, f"has no member {name!r}: Stable-Baselines3 writes one")
        data = _object(path, archive.read("data", most=MOST_STRUCTURE))
        arrays = _state_dict(read_torch(archive.read("policy.pth"), f"{path}/policy.pth"), path)
        version = ""
        if "_stable_baselines3_version" in archive.names:
            text = archive.read("_stable_baselines3_version", most=4096)
            version = text.decode("utf-8", "replace").strip()
    policy = _unpickled(path, data, "policy_class", frozenset(_POLICIES))
    if not isinstance(policy, str) or policy not in _POLICIES:
        raise RefusedError(path, "does not say the class of its policy")
    settings = data.get("policy_kwargs", {})
    if isinstance(settings, Mapping) and ":serialized:" in settings:
        settings = _unpickled(path, data, "policy_kwargs", _KNOWN_CLASSES)
    if not isinstance(settings, Mapping):
        raise RefusedError(path, "has policy_kwargs that are no dict")
    spaces = {
        name: _unpickled(path, data, name, SPACE_RECORDS)
        for name in ("observation_space", "action_space")
    }
    step = data.get("num_timesteps", 0)
    return Sb3File(
        path=path,
        version=version,
        kind=_POLICIES[policy],
        observation_space=space_of(spaces["observation_space"], path),
        action_space=space_of(spaces["action_space"], path),
        order=_order(spaces["observation_space"]),
        settings=settings,
        arrays=arrays,
        step=step if isinstance(step, int) and 0 <= step < 2**63 else 0,
        recorded=_recorded(path, data),
        use_sde=bool(data.get("use_sde", False)),
    )


def _object(path: Path, content: bytes) -> dict[str, Any]:
    try:
        data = json.loads(content)
    except (RecursionError, ValueError) as error:
        raise RefusedError(path, f"member 'data' is not JSON ({error})") from None
    if not isinstance(data, dict):
        raise RefusedError(path, "member 'data' is no JSON object")
    return data


def _state_dict(value: Any, path: Path) -> dict[str, np.ndarray]:
    if not isinstance(value, dict) or not all(
        isinstance(name, str) and isinstance(array, np.ndarray) for name, array in value.items()
    ):
        raise RefusedError(path, "member 'policy.pth' is no state dict: tensors by name")
    return value


def _unpickled(path: Path, data: Mapping[str, Any], name: str, records: frozenset[str]) -> Any:
    """One entry of the JSON that is a pickle in base64."""
    entry = data.get(name)
    if not isinstance(entry, Mapping) or not isinstance(entry.get(":serialized:"), str):
        raise RefusedError(path, f"does not say its {name}")
    try:
        content = base64.b64decode(entry[":serialized:"], validate=False)
    except (binascii.Error, ValueError) as error:
        raise RefusedError(path, f"{name} in 'data' is not base64 ({error})") from None
    return read_pickle(content, f"{path}, {name} in 'data'", records=records)


def _recorded(path: Path, data: Mapping[str, Any]) -> dict[str, Any] | None:
    """Returns of the last episodes of training, if they can be read."""
    try:
        episodes = _unpickled(path, data, "ep_info_buffer", frozenset())
    except HeredityError:
        return None  # none were recorded, or by a monitor of somebody's own
    if not isinstance(episodes, list) or not episodes:
        return None
    returns = [episode.get("r") for episode in episodes if isinstance(episode, Mapping)]
    numbers = [float(one) for one in returns if isinstance(one, int | float | np.floating)]
    if len(numbers) != len(episodes) or not np.isfinite(numbers).all():
        return None
    return {
        "mean_return": float(np.mean(numbers)),
        "std_return": float(np.std(numbers)),
        "episodes": len(numbers),
    }


# --- spaces ---------------------------------------------------------------------------------------


def space_of(value: Any, path: Path) -> Space:
    """The space that a record of Gymnasium's, or of Gym's, describes.

    Raises:
        RefusedError: when it is none that a policy here can see or act in.
    """
    if not isinstance(value, Record) or value.name not in _SPACES:
        raise RefusedError(path, "has a space that is none of Gymnasium's")
    kind = _SPACES[value.name]
    try:
        match kind:
            case "Box":
                low, high = np.asarray(value["low"]), np.asarray(value["high"])
                if low.shape != high.shape:
                    raise ValueError("bounds of two shapes")
                bounds = [_uniform(bound) for bound in (low, high)]
                return Box(tuple(low.shape), bounds[0], bounds[1], low.dtype.name)
            case "Discrete":
                # Without its start, which Stable-Baselines3 does not add to an action either.
                return Discrete(int(value["n"]))
            case "MultiDiscrete":
                choices, start = np.asarray(value["nvec"]), (value.state or {}).get("start", 0)
                if choices.ndim == 1 and not np.any(start):
                    return MultiDiscrete(tuple(int(n) for n in choices))
            case "Dict":
                parts = value["spaces"]
                return Dict({str(name): space_of(part, path) for name, part in parts.items()})
    except (AttributeError, HeredityError, KeyError, TypeError, ValueError) as error:
        raise RefusedError(path, f"has a {kind} space that is not whole ({error})") from None
    raise RefusedError(path, f"has a {kind} space, which policies here neither see nor act in")


def _uniform(bound: np.ndarray) -> Any:
    """A bound of a `Box`: one number where it is the same everywhere."""
    if bound.size and (bound == bound.flat[0]).all():
        return bound.flat[0].item()
    return bound.tolist()


def _order(value: Any) -> tuple[str, ...]:
    """The entries of a `Dict` space as they are written."""
    if isinstance(value, Record) and _SPACES.get(value.name) == "Dict":
        return tuple(str(name) for name in value["spaces"])
    return ()


# --- VecNormalize ---------------------------------------------------------------------------------

_VEC_NORMALIZE = "stable_baselines3.common.vec_env.vec_normalize.VecNormalize"
_MEAN_STD = "stable_baselines3.common.running_mean_std.RunningMeanStd"


def read_vec_normalize(path: Path) -> Mapping[str, Any]:
    """The attributes of a pickled VecNormalize; its statistics have ``mean``, ``var``, ``count``.

    Raises:
        RefusedError: when it is broken, something else, or asks for what is not statistics.
    """
    content = read_bytes(path, MOST_STRUCTURE)
    records = {_VEC_NORMALIZE, _MEAN_STD, *SPACE_RECORDS}
    value = read_pickle(content, path, records=records)
    if not isinstance(value, Record) or value.name != _VEC_NORMALIZE:
        raise RefusedError(path, "is no pickle of a VecNormalize")
    if not isinstance(value.state, Mapping):
        raise RefusedError(path, "is the pickle of a VecNormalize without content")
    return value.state
