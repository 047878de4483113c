"""The algorithms by name. What of one is needed is loaded when it is needed.

Each is a package with the same modules: ``config``, ``presets`` and ``elsewhere``, which load no
numerical library, and ``algorithm`` and ``preparing``, which do.
"""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from heredity.algorithms.contract import Algorithm, AlgorithmConfig
from heredity.algorithms.presets import Preset

if TYPE_CHECKING:
    from heredity.algorithms.pretrained import PretrainedEncoder
    from heredity.environments import Environment
    from heredity.spaces import Space


@dataclasses.dataclass(frozen=True)
class Registered:
    """One algorithm.

    Args:
        name: In files and commands.
        label: What people call it.
        told: What it is, in a few words.
        package: Where it is.
        config_class: Name of its settings, in ``config``.
        algorithm_class: Name of the algorithm, in ``algorithm``.
        short_moments: Moments that begin at zero where the ages of the optimiser do: folders of its
            state. Others are kept there, and shorten the first steps; see `training.transfer`.
    """

    name: str
    label: str
    told: str
    package: str
    config_class: str
    algorithm_class: str
    short_moments: tuple[str, ...] = ()

    def _module(self, name: str) -> Any:
        return importlib.import_module(f"{self.package}.{name}")

    @property
    def config(self) -> type[AlgorithmConfig]:
        """The class of its settings."""
        return getattr(self._module("config"), self.config_class)

    def recorded_config(self, settings: Mapping[str, Any]) -> AlgorithmConfig:
        """Settings from the file of a run."""
        return self._module("config").recorded_config(settings)

    def presets(self) -> Mapping[str, Preset]:
        """Its presets by name; that of an environment is called as it is."""
        return self._module("presets").presets()

    def preset_config(self, name: str, environment_id: str) -> AlgorithmConfig:
        """The settings that a preset gives.

        Args:
            name: ``auto`` (that of the environment, if there is one), ``none``, or a preset's.
            environment_id: That is trained in.

        Raises:
            UnknownNameError: for an unknown preset.
        """
        return self._module("presets").preset_config(name, environment_id)

    @property
    def renamed(self) -> Mapping[str, str]:
        """Its settings by the names that other libraries have for them."""
        return self._module("elsewhere").RENAMED

    def our_way(self, name: str) -> str:
        """What to do instead of giving a setting of that name; empty when nobody knows it."""
        return self._module("elsewhere").our_way(name)

    def build(
        self,
        config: AlgorithmConfig,
        observation_space: Space,
        action_space: Space,
        *,
        schedule_timesteps: int,
        action_repeat: int = 1,
        environment: dict[str, Any] | None = None,
        stage: int = 0,
    ) -> Algorithm:
        """The algorithm for given spaces.

        Args:
            config: Settings, of its own class.
            observation_space: Of one environment.
            action_space: Of one environment.
            schedule_timesteps: Over how many steps the schedules run.
            action_repeat: Environment steps of one decision.
            environment: Id and options, to be remembered by the policy.
            stage: How many of the settings' unfreezings there were already.

        Raises:
            UsageError: when settings do not fit each other, or the spaces.
        """
        made = getattr(self._module("algorithm"), self.algorithm_class)
        return made(
            config,
            observation_space,
            action_space,
            schedule_timesteps=schedule_timesteps,
            action_repeat=action_repeat,
            environment=environment,
            stage=stage,
        )

    def prepared(
        self, config: AlgorithmConfig, environment: Environment
    ) -> tuple[AlgorithmConfig, PretrainedEncoder | None]:
        """Settings that say all that is known when a run begins, and weights that are to be put in.

        To be asked once: what is said then is recorded, and holds for resumes.

        Raises:
            RefusedError: when a file that settings name cannot be read.
            UsageError: when settings say something else than the file.
        """
        return self._module("preparing").prepared(config, environment)

    def warnings_for(
        self, config: AlgorithmConfig, schedule: int | None, total: int
    ) -> Iterable[str]:
        """What a person should know of a run before it begins or goes on.

        Args:
            config: Settings.
            schedule: Environment steps that schedules run over.
            total: Environment steps at which the run ends.
        """
        return self._module("preparing").warnings_for(config, schedule, total)


_ALL = (
    Registered(
        name="ppo",
        label="PPO",
        told="proximal policy optimisation",
        package="heredity.algorithms.ppo",
        config_class="PPOConfig",
        algorithm_class="PPO",
    ),
    Registered(
        name="dreamer",
        label="DreamerV3",
        told="DreamerV3: a world model, and an actor that learns in it",
        package="heredity.algorithms.dreamer",
        config_class="DreamerConfig",
        algorithm_class="Dreamer",
        # Of gradients that were divided already: nothing shortens what their young age makes of it.
        short_moments=("optimizer/momentum/",),
    ),
)

ALGORITHMS: Mapping[str, Registered] = {one.name: one for one in _ALL}
"""By the name that files and commands have for them."""


def short_moments(name: str) -> tuple[str, ...]:
    """`Registered.short_moments` of an algorithm; () of one that nobody knows.

    Args:
        name: As a policy says what trained it.
    """
    known = ALGORITHMS.get(name)
    return () if known is None else known.short_moments


def algorithm_of(config: AlgorithmConfig) -> Registered:
    """The algorithm that settings are for.

    Example:
        >>> from heredity.algorithms.ppo import PPOConfig
        >>> algorithm_of(PPOConfig()).label
        'PPO'
    """
    return ALGORITHMS[config.algorithm]
