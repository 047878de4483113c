"""The facade that people import: ``import heredity as hd``."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Self

from heredity.algorithms.ppo.config import PPOConfig
from heredity.algorithms.ppo.presets import preset_config
from heredity.common.errors import UnknownNameError, UsageError
from heredity.environments import Environment, EnvironmentSpec, HostEnvironment, make, make_recorded
from heredity.policies import Policy
from heredity.training.callbacks import CallbackLike, as_callbacks
from heredity.training.evaluation import Evaluation, Evaluator, evaluation_copy
from heredity.training.events import Event
from heredity.training.progress import ProgressBarCallback
from heredity.training.session import begin_run, resume_run
from heredity.training.settings import RunSettings


def _checked(owner: type, given: dict[str, Any], what: str) -> dict[str, Any]:
    known = [field.name for field in dataclasses.fields(owner)]
    for name in given:
        if name not in known:
            raise UnknownNameError(what, name, known)
    return given


class PPO:
    """Proximal policy optimisation on one environment.

    Args:
        env: Id such as ``gymnax/CartPole-v1``, or an environment from `make`. How many copies
            `make` was asked for is the default of the setting ``num_envs``.
        seed: Decides every draw.
        preset: ``auto`` for the tuned settings of this environment if there are any, ``none``, or
            the id of an environment whose settings are wanted.
        config: All settings at once, instead of a preset.
        settings: Fields of `PPOConfig` that are to be others.

    Raises:
        UnknownNameError: for a setting, preset or environment nobody knows.

    Example:
        >>> model = PPO("probe/constant-reward", num_envs=4, num_steps=32)
        >>> model.learn(total_timesteps=1_000).policy.lineage.entries[0].operation
        'train'
    """

    def __init__(
        self,
        env: str | Environment,
        *,
        seed: int = 0,
        preset: str = "auto",
        config: PPOConfig | None = None,
        **settings: Any,
    ) -> None:
        name = env if isinstance(env, str) else (env.spec.id if env.spec else "")
        base = config if config is not None else preset_config(preset, name)
        _checked(PPOConfig, settings, "PPO setting")
        if not isinstance(env, str) and isinstance(env, HostEnvironment):
            # A vector is as large as it is; an explicit other number is refused by the run.
            settings.setdefault("num_envs", env.num_envs)
        elif not isinstance(env, str) and env.num_envs is not None and config is None:
            settings.setdefault("num_envs", env.num_envs)
        self.config = dataclasses.replace(base, **settings)
        self.seed = seed
        self._name, self._environment = env, None if isinstance(env, str) else env
        self._newest: Event | None = None
        self._begun = False

    @property
    def env(self) -> Environment:
        """The environment, made when it is first needed."""
        if self._environment is None:
            assert isinstance(self._name, str)
            self._environment = make(self._name, num_envs=self.config.num_envs)
        return self._environment

    def run(
        self,
        total_timesteps: int | float,
        directory: str | Path | None = None,
        callback: CallbackLike = None,
        **kept: Any,
    ) -> Iterator[Event]:
        """Train, giving an event at each evaluation; stop by breaking out of the loop.

        Args:
            total_timesteps: Where to end; rounded up to a whole iteration.
            directory: Where snapshots, checkpoints and metrics go; None to keep nothing.
            callback: One or several callbacks, or functions ``(event) -> bool | None``.
            kept: Fields of `RunSettings`: ``snapshot_every``, ``evaluate_every``, ….

        Yields:
            Events with step, metrics, policy and evaluation together.

        Raises:
            UsageError: when it has learnt before: resume the directory, or make another.
        """
        if self._begun:
            raise UsageError(
                "this PPO has learnt already: go on with hd.resume(directory), or make another"
            )
        _checked(RunSettings, kept, "setting of the run")
        settings = RunSettings(total_timesteps=total_timesteps, seed=self.seed, **kept)  # pyright: ignore[reportArgumentType]
        events = begin_run(self.config, self.env, settings, directory, callback)
        self._begun = True  # not before: after a start that was refused, another can be tried
        with contextlib.ExitStack() as ending:
            if isinstance(self._name, str) and isinstance(self._environment, HostEnvironment):
                ending.callback(self._environment.close)  # made here, so closed here
            ending.enter_context(contextlib.closing(events))  # so that a break here saves there
            for event in events:
                self._newest = event
                yield event

    def learn(
        self,
        total_timesteps: int | float,
        callback: CallbackLike = None,
        directory: str | Path | None = None,
        progress_bar: bool = False,
        **kept: Any,
    ) -> Self:
        """Train to the end and return the model; see `run` for the arguments."""
        callbacks = as_callbacks(callback)
        if progress_bar:
            callbacks.append(ProgressBarCallback())
        for _ in self.run(total_timesteps, directory, callbacks, **kept):
            pass
        return self

    @property
    def policy(self) -> Policy:
        """The policy as the last event had it.

        Raises:
            UsageError: before anything was learnt.
        """
        if self._newest is None:
            raise UsageError("nothing has been learnt yet: call learn() or run() first")
        return self._newest.policy

    def predict(self, observation: Any, *args: Any, **kwargs: Any) -> tuple[Any, Any]:
        """`Policy.predict` of the newest policy."""
        return self.policy.predict(observation, *args, **kwargs)

    def save(self, folder: str | Path) -> None:
        """Write the newest policy as a folder."""
        self.policy.save_pretrained(folder)


def resume(
    directory: str | Path,
    total_timesteps: int | float | None = None,
    callback: CallbackLike = None,
    *,
    environment: Environment | None = None,
    trust: Sequence[str] = (),
    **changes: Any,
) -> Iterator[Event]:
    """Go on with a run from its newest whole checkpoint, bit for bit.

    Args:
        directory: Of the run.
        total_timesteps: A new end; default: the one it was started with.
        callback: One or several callbacks.
        environment: Instead of the one that the run names.
        trust: Ids of environments that the run may name although they are not built in.
        changes: Fields of `RunSettings` that are to be others from now on.

    Yields:
        Events with step, metrics, policy and evaluation together.
    """
    if total_timesteps is not None:
        changes["total_timesteps"] = total_timesteps
    yield from resume_run(directory, changes, callback, environment, trust)


def evaluate_policy(
    policy: Policy,
    env: str | Environment | None = None,
    n_eval_episodes: int = 10,
    deterministic: bool = True,
    *,
    seed: int = 0,
    trust: Sequence[str] = (),
    options: dict[str, Any] | None = None,
) -> Evaluation:
    """Play whole episodes and return what was reached.

    Args:
        policy: Whose actions are taken.
        env: Id or environment; default: the one the policy was trained in.
        n_eval_episodes: How many episodes.
        deterministic: Whether to take the most likely actions.
        seed: Decides first states and draws.
        trust: Ids that the policy's file may name although they are not built in.
        options: Of the environment, when `env` is an id.

    Raises:
        UsageError: when no environment is named anywhere.
        MismatchError: when the environment's spaces are not the policy's.
    """
    if not isinstance(n_eval_episodes, int) or n_eval_episodes < 1:
        raise UsageError(f"episodes {n_eval_episodes!r}: a whole number >= 1 was expected")
    made = None
    if isinstance(env, str):
        environment = made = make(env, num_envs=min(n_eval_episodes, 8), **(options or {}))
    elif env is not None:
        environment = env
        if isinstance(env, HostEnvironment) and env.spec is not None:
            environment = made = evaluation_copy(env, n_eval_episodes, draw=False)
    else:
        named = policy.spec.environment
        if named is None:
            raise UsageError("the policy names no environment: give one with env")
        spec = EnvironmentSpec(named["id"], named.get("options", {}))
        environment = made = make_recorded(spec, min(n_eval_episodes, 8), trust)
    policy.check_spaces(environment.observation_space, environment.action_space)
    try:
        evaluator = Evaluator(
            policy.spec, environment, n_eval_episodes, deterministic=deterministic
        )
        return evaluator.evaluate(policy.params, seed)
    finally:
        if isinstance(made, HostEnvironment):
            made.close()
