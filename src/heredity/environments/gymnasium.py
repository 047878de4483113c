"""Gymnasium environments by their ids: what is registered, what is lacking, how one is made.

What steps many of them is in `heredity.environments.gymnasium_vectors`.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib.util
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import gymnasium as gym

from heredity.common.errors import UnknownNameError, UsageError
from heredity.environments.adapters import Adapter, see_current_folder
from heredity.environments.contract import Environment
from heredity.environments.gymnasium_vectors import make_vector
from heredity.environments.mujoco_setup import choose_opengl, has_screen, log_mujoco_warnings
from heredity.environments.options import Scalar
from heredity.environments.vectors import VectorOptions
from heredity.environments.worker_process import Maker

# What Gymnasium's own environments need besides Gymnasium, by the module that they are in. Others
# are registered when their package is imported, which then brings what they need.
_NEEDS = {
    "gymnasium.envs.box2d": ("Box2D", "pip install swig 'gymnasium[box2d]'"),
    "gymnasium.envs.mujoco": ("mujoco", "pip install 'heredity[mujoco]'"),
}


# Registered with Gymnasium when an adapter of their own has imported them, and only then.
_ELSEWHERE = ("ale_py.", "minigrid.")


@dataclasses.dataclass(frozen=True)
class GymOptions(VectorOptions):
    """Options of the Gymnasium environments."""

    env_kwargs: dict[str, Scalar] = dataclasses.field(default_factory=dict)
    """Keyword arguments of the environment's own constructor."""

    def __post_init__(self) -> None:
        super().__post_init__()
        reserved = {"id", "render_mode", "max_episode_steps", "disable_env_checker"}
        taken = sorted(reserved & set(self.env_kwargs))
        if taken:
            raise UsageError(f"env_kwargs may not hold {', '.join(taken)}: they are set here")


def make_gym(name: str, render: bool, max_episode_steps: int | None, kwargs: dict[str, Any]) -> Any:
    """One Gymnasium environment without the checker, which costs time at each step."""
    if render:
        _draw_quietly()
    if ":" in name:
        module = name.partition(":")[0]
        see_current_folder(module)
        package = module.partition(".")[0]
        if package.isidentifier() and importlib.util.find_spec(package) is None:
            raise UsageError(
                f"environment {f'gym/{name}'!r}: there is no module {package!r}; run from the "
                "folder that holds it, or install it"
            )
    if name in gym.registry and _is_mujoco(name) and importlib.util.find_spec("mujoco"):
        log_mujoco_warnings()
    try:
        return gym.make(
            name,
            max_episode_steps=max_episode_steps,
            disable_env_checker=True,
            # Not given as None: an environment that draws nothing need not take it.
            **({"render_mode": "rgb_array"} if render else {}),
            **kwargs,
        )
    except (gym.error.UnregisteredEnv, gym.error.DeprecatedEnv):
        raise _unknown(name) from None
    except (gym.error.Error, ModuleNotFoundError) as error:
        raise UsageError(f"gym/{name} cannot be made here: {error}") from None
    except TypeError as error:
        if "must inherit from the gymnasium.Env" in str(error):
            raise UsageError(f"gym/{name} is no environment of Gymnasium: {error}") from None
        if not kwargs:
            raise
        raise UsageError(f"gym/{name} did not take env_kwargs={kwargs}: {error}") from None


def _is_mujoco(name: str) -> bool:
    return str(gym.registry[name].entry_point).startswith("gymnasium.envs.mujoco")


def _draw_quietly() -> None:
    """Keep SDL, which pygame draws with, from complaining of what pictures do not need."""
    os.environ.setdefault("SDL_AUDIODRIVER", "dummy")
    # Where there is a display, the same program may open windows on it.
    if not has_screen():
        os.environ.setdefault("SDL_VIDEODRIVER", "dummy")
    choose_opengl()


def _names() -> tuple[str, ...]:
    """What can be made here, as far as Gymnasium's own environments are concerned."""
    return tuple(name for name, need in _newest() if need is None)


def _lacking() -> Mapping[str, Sequence[str]]:
    """The others, by what they need."""
    lacking: dict[str, list[str]] = {}
    for name, need in _newest():
        if need is not None:
            lacking.setdefault(need, []).append(name)
    return lacking


def newest_versions(module: str = "") -> list[str]:
    """Registered names, the newest version of each, whose entry point begins with `module`.

    Compatibility shims are no environments.
    """
    newest: dict[tuple[str | None, str], tuple[int, str]] = {}
    for name, spec in gym.registry.items():
        if spec.name.startswith("GymV") or not str(spec.entry_point).startswith(module):
            continue
        key, version = (spec.namespace, spec.name), spec.version or 0
        if key not in newest or version > newest[key][0]:
            newest[key] = (version, name)
    return sorted(name for _, name in newest.values())


def _newest() -> Iterator[tuple[str, str | None]]:
    """Registered names, the newest version of each, and what they need that is not here."""
    needs = {
        place: f"{module} is not installed: {remedy}"
        for place, (module, remedy) in _NEEDS.items()
        if importlib.util.find_spec(module) is None
    }
    for name in newest_versions():
        entry = str(gym.registry[name].entry_point)
        if entry.startswith(_ELSEWHERE):
            continue
        yield name, next((needs[place] for place in needs if entry.startswith(place)), None)


def _check(name: str) -> None:
    """Refuse a name that is not registered; what a module registers is known once it is made."""
    if ":" not in name:
        try:
            gym.spec(name)
        except (gym.error.UnregisteredEnv, gym.error.DeprecatedEnv):
            raise _unknown(name) from None
        except gym.error.Error:
            pass  # without a version, or malformed: making it tells


def _unknown(name: str) -> UnknownNameError:
    module, colon, plain = name.rpartition(":")
    known = [known for known, _ in _newest()]
    hint = "heredity envs lists all; your own: gym/module:Name-v0, where importing it registers it"
    if colon:
        known = [k for k in known if "gymnasium.envs" not in str(gym.registry[k].entry_point)]
        hint = f"importing {module} has to call gymnasium.register(id={plain!r}, ...)"
    ids = [f"gym/{module}{colon}{name}" for name in known]
    return UnknownNameError("environment", f"gym/{name}", ids, hint, brief=True)


def _distrust(name: str) -> str | None:
    if ":" in name:
        return "tells Gymnasium to import a module"
    if name.startswith("GymV"):
        return "passes on to another library's registry"
    return None


def _make(name: str, num_envs: int, options: GymOptions) -> Environment:
    def maker(render: bool) -> Maker:
        return functools.partial(
            make_gym, name, render, options.max_episode_steps, dict(options.env_kwargs)
        )

    return make_vector(f"gym/{name}", maker, num_envs, options)


ADAPTER = Adapter(
    name="gym",
    options=GymOptions,
    make=_make,
    on_host=True,
    names=_names,
    check=_check,
    lacking=_lacking,
    missing=lambda: None,
    summary="Gymnasium: any registered environment, on the host",
    default_num_envs=8,
    distrust=_distrust,
)
