"""What every algorithm is for a person: an object that learns on one environment."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar, Generic, NoReturn, Self, TypeVar

from heredity.algorithms.contract import AlgorithmConfig
from heredity.algorithms.presets import preset_of
from heredity.algorithms.registry import Registered
from heredity.common.errors import UnknownNameError, UsageError
from heredity.common.files import check_name
from heredity.common.run_folder import RunFolder
from heredity.environments import Environment, EnvironmentSpec, HostEnvironment, check_given, make
from heredity.policies import Policy
from heredity.training.callbacks import CallbackLike, as_callbacks
from heredity.training.checkpoints import Checkpoint
from heredity.training.events import Event
from heredity.training.group import saved_policies
from heredity.training.progress import ProgressBarCallback
from heredity.training.session import begin_run, resume_run
from heredity.training.settings import RunSettings
from heredity.training.start import PostInit, Start

Config = TypeVar("Config", bound=AlgorithmConfig)

# The seed is the model's.
_OF_RUN = [field.name for field in dataclasses.fields(RunSettings) if field.name != "seed"]
_OF_LEARN = {*_OF_RUN, "callback", "directory", "progress_bar"}


class Trainer(Generic[Config]):
    """An algorithm on one environment; `heredity.api` has one for each algorithm.

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
        settings: Settings of the algorithm to override.

    Raises:
        UnknownNameError: for an unknown setting, preset or environment.
        UsageError: for what is no environment, such as an object of Gymnasium.

    Attributes:
        algorithm: Which it is; a subclass says so.
    """

    algorithm: ClassVar[Registered]

    def __init__(
        self,
        env: str | Environment,
        *more: object,
        seed: int = 0,
        preset: str = "auto",
        config: Config | None = None,
        start: Policy | Checkpoint | str | Path | None = None,
        post_init: PostInit | None = None,
        **settings: Any,
    ) -> None:
        if more:
            raise UsageError(
                f"{type(self).__name__}({env!r}, {more[0]!r}): the environment alone was expected, "
                f"everything else by name; about a policy: {self.algorithm.our_way('policy')}"
            )
        own = [field.name for field in dataclasses.fields(self.algorithm.config)]
        self._check_names(f"{type(self).__name__} setting", settings, own)
        name = check_given(env)
        if config is not None and preset != "auto":
            raise UsageError(f"preset {preset!r} beside config: all settings are given already")
        base: Any = config if config is not None else self.algorithm.preset_config(preset, name)
        known = None if config is not None else preset_of(self.algorithm.presets(), preset, name)
        self._meant = {} if known is None else known.run
        if config is None and not isinstance(env, str) and env.num_envs is not None:
            # A host vector is as large as it is; another number is refused by the run.
            settings.setdefault("num_envs", env.num_envs)
        self.config: Config = dataclasses.replace(base, **settings)
        self.seed = seed
        self._start_from = Start.given(start, post_init, trust=self.config.own_networks)
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
                iteration. None, for a model that has a directory, for where it was to end before;
                for another, for as long as its preset was meant to train.
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
            >>> import heredity as hd
            >>> model = hd.PPO("probe/constant-reward", num_envs=4, num_steps=32)
            >>> [event.step for event in model.run(512, evaluate_every=256)]
            [256, 512]
        """
        self._check_names("setting of the run", kept, _OF_RUN)
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
            directory = checked_directory(directory)
        if self._folder is not None:
            if directory is not None and Path(directory).resolve() != self._folder.root.resolve():
                raise UsageError(
                    f"directory {str(directory)!r}: this model goes on in "
                    f"{str(self._folder.root)!r}, which need not be given; for a run from fresh "
                    f"weights make another {type(self).__name__}"
                )
            return resume_run(self._folder.root, given, callback, self.env)
        if self._begun:
            raise UsageError(
                f"this {type(self).__name__} has learnt already, and without a directory nothing "
                "was kept to go on from: make another, and give directory= to its first learn() "
                "or run()"
            )
        kept = {**self._meant, **given}
        if "total_timesteps" not in kept:
            raise UsageError("total_timesteps is needed: after how many steps training ends")
        settings = RunSettings(seed=self.seed, **kept)
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
            >>> import heredity as hd
            >>> model = hd.PPO("probe/constant-reward", num_envs=4, num_steps=32)
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
            >>> import heredity as hd
            >>> model = hd.PPO("probe/constant-reward", num_envs=4, num_steps=32, seed=5)
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

    @classmethod
    def load(cls, path: str | Path, *more: object, **settings: object) -> NoReturn:
        """Not there: what is saved is a policy, and a run is resumed.

        Raises:
            UsageError: always, saying how a policy is loaded to act, and a run to learn on.
        """
        raise UsageError(
            f"{cls.__name__}.load({str(path)!r}): a policy to act with is "
            "hd.Policy.from_pretrained(folder), a run to learn on with is hd.resume(directory), "
            "and a file of Stable-Baselines3 is imported: "
            f"heredity import {path} --format sb3 --out DIR"
        )

    @classmethod
    def of_run(
        cls, folder: RunFolder, config: Config, seed: int, environment: Environment, given: bool
    ) -> Self:
        """The model of a run, to go on with.

        Args:
            folder: Of the run.
            config: Its settings.
            seed: Its first seed.
            environment: Where it goes on.
            given: Whether a person made the environment, who also closes it.

        Raises:
            UsageError: when the environment is a vector of another size.
        """
        model = cls(environment, seed=seed, config=config)
        if isinstance(environment, HostEnvironment) and environment.num_envs != config.num_envs:
            raise UsageError(
                f"env has {environment.num_envs} copies, the run in {folder.root} has "
                f"{config.num_envs}: give as many"
            )
        model._folder = folder
        if not given:
            model._made_from = environment.spec
        return model

    @classmethod
    def _check_names(cls, what: str, given: dict[str, Any], known: Sequence[str]) -> None:
        own = [field.name for field in dataclasses.fields(cls.algorithm.config)]
        for name in given:
            if name not in known:
                hint = cls.algorithm.our_way(name)
                if name in _OF_LEARN:
                    hint = "it is given to learn() or run()"
                elif name in (*own, "seed"):
                    hint = f"it is given to the model: {cls.__name__}(env, {name}=...)"
                raise UnknownNameError(what, name, () if hint else known, hint, brief=bool(hint))


def checked_directory(directory: object) -> Path:
    """The path of a folder, as a person gave it.

    Raises:
        UsageError: when it is none.
    """
    if not isinstance(directory, str | Path) or directory == "":
        raise UsageError(f"directory {directory!r}: the path of a folder was expected")
    return check_name(Path(directory), "directory")
