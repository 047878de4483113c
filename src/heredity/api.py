"""The facade that people import: ``import heredity as hd``."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path
from typing import Any, NoReturn, Self

from heredity.algorithms.ppo.config import PPOConfig
from heredity.algorithms.ppo.elsewhere import our_way
from heredity.algorithms.ppo.presets import preset_config
from heredity.common.errors import UnknownNameError, UsageError
from heredity.common.files import check_name
from heredity.common.run_folder import RunFolder
from heredity.environments import (
    Environment,
    EnvironmentSpec,
    HostEnvironment,
    check_given,
    make,
)
from heredity.networks.own import import_networks
from heredity.policies import Policy
from heredity.training.callbacks import CallbackLike, as_callbacks
from heredity.training.checkpoints import Checkpoint
from heredity.training.evaluation import Evaluation, evaluate_policies, scoring_environment
from heredity.training.events import Event
from heredity.training.group import saved_policies
from heredity.training.progress import ProgressBarCallback
from heredity.training.record import read_settings, recorded_environment
from heredity.training.session import begin_run, resume_run
from heredity.training.settings import RunSettings
from heredity.training.start import PostInit, Start

_OF_PPO = [field.name for field in dataclasses.fields(PPOConfig)]
# The seed is the model's.
_OF_RUN = [field.name for field in dataclasses.fields(RunSettings) if field.name != "seed"]
_OF_LEARN = {*_OF_RUN, "callback", "directory", "progress_bar"}


class PPO:
    """Proximal policy optimisation on one environment.

    Args:
        env: Id such as ``gymnax/CartPole-v1``, or an environment from `make`. How many copies
            `make` was asked for is the default of the setting ``num_envs``.
        more: Nothing; whoever gives a policy first, as elsewhere, is told.
        seed: Decides every draw.
        preset: ``auto`` for the tuned settings of this environment if there are any, ``none``, or
            the id of an environment whose settings are wanted.
        config: All settings at once, instead of a preset.
        start: A policy, or the folder of one, whose weights training begins with; of a checkpoint
            the optimiser goes on as well; default: fresh ones.
        post_init: Receives the first weights as a nested dict of numpy arrays, and gives them back
            changed, with or without a `WeightReport`; both are recorded in the lineage.
        settings: Fields of `PPOConfig` to override.

    Raises:
        UnknownNameError: for an unknown setting, preset or environment.
        UsageError: for what is no environment, such as an object of Gymnasium.

    Example:
        >>> model = PPO("probe/constant-reward", num_envs=4, num_steps=32)
        >>> model.learn(total_timesteps=1_000).policy.lineage.entries[0].operation
        'train'
    """

    def __init__(
        self,
        env: str | Environment,
        *more: object,
        seed: int = 0,
        preset: str = "auto",
        config: PPOConfig | None = None,
        start: Policy | Checkpoint | str | Path | None = None,
        post_init: PostInit | None = None,
        **settings: Any,
    ) -> None:
        if more:
            raise UsageError(
                f"PPO({env!r}, {more[0]!r}): the environment alone was expected, everything else "
                f"by name; about a policy: {our_way('policy')}"
            )
        _check_names("PPO setting", settings, _OF_PPO)
        name = check_given(env)
        if config is not None and preset != "auto":
            raise UsageError(f"preset {preset!r} beside config: all settings are given already")
        base = config if config is not None else preset_config(preset, name)
        if config is None and not isinstance(env, str) and env.num_envs is not None:
            # A host vector is as large as it is; another number is refused by the run.
            settings.setdefault("num_envs", env.num_envs)
        self.config = dataclasses.replace(base, **settings)
        self.seed = seed
        self._start_from = Start.given(start, post_init, trust=[self.config.network.kind])
        self._environment = None if isinstance(env, str) else env
        # What is made here is closed here, after each run, and made again for the next.
        self._made_from = EnvironmentSpec(env) if isinstance(env, str) else None
        self._newest: dict[int, Event] = {}  # by seed
        self._begun = False
        self._folder: RunFolder | None = None

    @property
    def env(self) -> Environment:
        """The environment, made when it is first needed."""
        if self._environment is None:
            assert self._made_from is not None
            options = dict(self._made_from.options)
            self._environment = make(self._made_from.id, self.config.num_envs, **options)
        return self._environment

    def run(
        self,
        total_timesteps: int | float | None = None,
        directory: str | Path | None = None,
        callback: CallbackLike = None,
        **kept: Any,
    ) -> Iterator[Event]:
        """Train, giving an event at each evaluation; stop by breaking out of the loop.

        A model that has a directory, because it has learnt before or comes from `resume`, goes on
        from the newest whole checkpoint there, bit for bit.

        Args:
            total_timesteps: Where to end, counted from the very first step; rounded up to a whole
                iteration. None, for a model that has a directory, for where it was to end before.
            directory: Where snapshots, checkpoints and metrics go; None to keep nothing. A model
                that has one keeps it.
            callback: One or several callbacks, or functions ``(event) -> bool | None``.
            kept: Fields of `RunSettings`: ``snapshot_every``, ``evaluate_every``, …. When going on,
                those that are to be others from now on. With ``seeds=8`` eight seeds are trained
                side by side in one program, that of the model and those after it.

        Yields:
            Events with step, metrics, policy and evaluation together; of several seeds one event
            for each of them, in their order.

        Raises:
            UsageError: when it has learnt before and nothing was kept, or nothing is left to do.

        Example:
            >>> model = PPO("probe/constant-reward", num_envs=4, num_steps=32)
            >>> [event.step for event in model.run(512, evaluate_every=256)]
            [256, 512]
        """
        _check_names("setting of the run", kept, _OF_RUN)
        given = kept if total_timesteps is None else {"total_timesteps": total_timesteps, **kept}
        with contextlib.ExitStack() as ending:
            ending.callback(self._close)
            events = self._start(directory, callback, given)
            ending.enter_context(contextlib.closing(events))  # first, so that a break here saves
            for event in events:
                self._newest[event.seed] = event
                yield event

    def _start(
        self, directory: str | Path | None, callback: CallbackLike, given: dict[str, Any]
    ) -> Generator[Event]:
        """The events of a run from fresh weights, or of the one in the folder from where it is."""
        if directory is not None:
            directory = _checked_directory(directory)
        if self._folder is not None:
            if directory is not None and Path(directory).resolve() != self._folder.root.resolve():
                raise UsageError(
                    f"directory {str(directory)!r}: this model goes on in "
                    f"{str(self._folder.root)!r}, which need not be given; for a run from fresh "
                    "weights make another PPO"
                )
            return resume_run(self._folder.root, given, callback, self.env)
        if self._begun:
            raise UsageError(
                "this PPO has learnt already, and without a directory nothing was kept to go on "
                "from: make another, and give directory= to its first learn() or run()"
            )
        if "total_timesteps" not in given:
            raise UsageError("total_timesteps is needed: after how many steps training ends")
        settings = RunSettings(seed=self.seed, **given)
        events = begin_run(
            self.config, self.env, settings, directory, callback, start=self._start_from
        )
        self._begun = True  # not before: after a start that was refused, another can be tried
        self._folder = None if directory is None else RunFolder(Path(directory))
        return events

    def _close(self) -> None:
        if self._made_from is not None and isinstance(self._environment, HostEnvironment):
            self._environment.close()
            self._environment = None

    def learn(
        self,
        total_timesteps: int | float | None = None,
        callback: CallbackLike = None,
        directory: str | Path | None = None,
        progress_bar: bool = False,
        **kept: Any,
    ) -> Self:
        """Train to the end and return the model; see `run` for the arguments.

        Example:
            >>> import tempfile
            >>> model = PPO("probe/constant-reward", num_envs=4, num_steps=32)
            >>> model = model.learn(512, directory=tempfile.mkdtemp())
            >>> model.learn(1_024).policy.lineage.entries[-1].step
            1024
        """
        callbacks = as_callbacks(callback)
        if progress_bar:
            callbacks.append(ProgressBarCallback())
        for _ in self.run(total_timesteps, directory, callbacks, **kept):
            pass
        return self

    @property
    def policy(self) -> Policy:
        """The policy as the last event had it; before, as the newest whole checkpoint has it.

        Raises:
            UsageError: when there is neither; and for several seeds, whose `policies` are to be
                chosen from.
        """
        policies = self.policies
        if len(policies) > 1 or any(event.seeds > 1 for event in self._newest.values()):
            seeds = ", ".join(map(str, policies))
            raise UsageError(
                f"this model has a policy for each seed, {seeds}: choose one, such as "
                f"model.policies[{next(iter(policies))}]"
            )
        return next(iter(policies.values()))

    @property
    def policies(self) -> dict[int, Policy]:
        """The policy of each seed, as `policy` is that of the only one.

        Nothing here says which is the best: the evaluations of training, at which one of several
        was ahead, are kind to it.

        Raises:
            UsageError: when nothing has been learnt.

        Example:
            >>> model = PPO("probe/constant-reward", num_envs=4, num_steps=32, seed=5)
            >>> list(model.learn(512, seeds=2).policies)
            [5, 6]
        """
        if self._newest:
            return {seed: event.policy for seed, event in self._newest.items()}
        return self._saved_policies

    @functools.cached_property
    def _saved_policies(self) -> dict[int, Policy]:
        if self._folder is None:
            raise UsageError("nothing has been learnt yet: call learn() or run() first")
        return saved_policies(self._folder)

    def predict(self, observation: Any, *args: Any, **kwargs: Any) -> tuple[Any, Any]:
        """`Policy.predict` of the newest policy."""
        return self.policy.predict(observation, *args, **kwargs)

    def save(self, folder: str | Path) -> None:
        """Write the newest policy as a folder."""
        self.policy.save_pretrained(folder)

    @staticmethod
    def load(path: str | Path, *more: object, **settings: object) -> NoReturn:
        """Not there: what is saved is a policy, and a run is resumed.

        Raises:
            UsageError: always, saying how a policy is loaded to act, and a run to learn on.
        """
        raise UsageError(
            f"PPO.load({str(path)!r}): a policy to act with is hd.Policy.from_pretrained(folder), "
            "a run to learn on with is hd.resume(directory), and a file of Stable-Baselines3 is "
            f"imported: heredity import {path} --format sb3 --out DIR"
        )


def resume(
    directory: str | Path, env: str | Environment | None = None, *, trust: Sequence[str] = ()
) -> PPO:
    """The model of a run, to go on with: `PPO.learn` and `PPO.run` do, bit for bit.

    Nothing is trained or written before one of them is called. Without ``total_timesteps`` they
    train to where the run was to end. A run of several seeds goes on as one; the folder of one of
    its seeds is a run of its own.

    Args:
        directory: Of the run.
        env: Instead of the environment that the run names: an id or an environment.
        trust: Ids of environments, and networks, that the run may name although they are not built
            in.

    Raises:
        RefusedError: when this is not the folder of a run.
        UsageError: when it names no environment, or one that is not to be trusted; when `env` is
            none, or a vector of another size.

    Example:
        >>> import tempfile
        >>> folder = tempfile.mkdtemp()
        >>> model = PPO("probe/constant-reward", num_envs=4, num_steps=32)
        >>> _ = model.learn(512, directory=folder)
        >>> model = resume(folder)
        >>> [event.step for event in model.run(1_024, evaluate_every=512)]
        [1024]
    """
    folder = RunFolder(_checked_directory(directory))
    record = folder.read_config(sealed=True)
    config, settings = read_settings(folder, record)
    import_networks(config.own_networks, trust)
    if env is None:
        environment = recorded_environment(folder, record, config.num_envs, trust)
    elif isinstance(env, str):
        environment = make(env, config.num_envs)
    else:
        environment = env
    model = PPO(environment, seed=settings.seed, config=config)
    if isinstance(environment, HostEnvironment) and environment.num_envs != config.num_envs:
        raise UsageError(
            f"env has {environment.num_envs} copies, the run in {folder.root} has "
            f"{config.num_envs}: give as many"
        )
    model._folder = folder
    if environment is not env:
        model._made_from = environment.spec
    return model


def _checked_directory(directory: object) -> Path:
    if not isinstance(directory, str | Path) or directory == "":
        raise UsageError(f"directory {directory!r}: the path of a folder was expected")
    return check_name(Path(directory), "directory")


def _check_names(what: str, given: dict[str, Any], known: Sequence[str]) -> None:
    for name in given:
        if name not in known:
            hint = our_way(name)
            if name in _OF_LEARN:
                hint = "it is given to learn() or run()"
            elif name in (*_OF_PPO, "seed"):
                hint = f"it is given to the model: PPO(env, {name}=...)"
            raise UnknownNameError(what, name, () if hint else known, hint, brief=bool(hint))


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
        policy: To evaluate.
        env: Id or environment; default: the one the policy was trained in. A host environment is
            played as it is, wrappers and changes included, and is left in the middle of an episode:
            give another than a run is training in.
        n_eval_episodes: How many episodes.
        deterministic: Whether to take the most likely actions.
        seed: Of first states and sampled actions.
        trust: Ids that the policy's file may name although they are not built in.
        options: Of the environment, when `env` is an id. What cuts episodes short to learn from
            them is turned off, here as where the policy was trained; see `evaluation_options`.

    Raises:
        UsageError: when no environment is named anywhere, or `env` is none.
        MismatchError: when the environment's spaces are not the policy's.
    """
    if not isinstance(policy, Policy):
        raise UsageError(
            f"policy {policy!r}: a Policy was expected; hd.Policy.from_pretrained(path) loads one"
        )
    if not isinstance(n_eval_episodes, int) or n_eval_episodes < 1:
        raise UsageError(f"n_eval_episodes {n_eval_episodes!r}: a whole number >= 1 was expected")
    named = policy.spec.environment
    with scoring_environment(env, n_eval_episodes, named, trust=trust, options=options) as played:
        (evaluation,) = evaluate_policies(
            [policy], played, n_eval_episodes, deterministic=deterministic, seed=seed
        )
        return evaluation
