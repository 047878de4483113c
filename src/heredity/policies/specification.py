"""A policy as data: everything that is needed to build it again, without its weights."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

from heredity.common.errors import RefusedError
from heredity.common.formats import POLICY
from heredity.networks.contract import NetworkSpec
from heredity.networks.distributions import DistributionSpec
from heredity.networks.normalizer import EPSILON
from heredity.networks.observations import chosen_entries
from heredity.spaces import Space, space_from_json, space_to_json


@dataclasses.dataclass(frozen=True)
class PolicySpec:
    """What a policy sees, does, and is built from.

    Args:
        observation_space: Of one environment.
        action_space: Of one environment.
        actor: The network whose outputs parametrise the distribution over actions.
        trunk: A network whose outputs actor and critic read instead of the observation; None when
            each reads for itself.
        distribution: The family of that distribution.
        critic: The network that estimates values; None for a policy that only acts.
        normalize_observations: Whether float observations are normalised by ``normalizer/``.
        normalize_rewards: Whether the critic speaks of rewards divided by the deviation in
            ``normalizer/reward``.
        observation_clip: Normalised observations are cut to ``[-clip, clip]``.
        observation_epsilon: Added to each variance before observations are divided by its root;
            other libraries have other values, which their policies keep.
        environment: Id and options of the environment it was trained in; None if it has no name.
        algorithm: What trained it.
        heads: Further networks that read what actor and critic read, by name: those of a world
            model, such as its ``decoder``. Not needed to act.
    """

    observation_space: Space
    action_space: Space
    actor: NetworkSpec
    distribution: DistributionSpec
    critic: NetworkSpec | None = None
    trunk: NetworkSpec | None = None
    normalize_observations: bool = False
    normalize_rewards: bool = False
    observation_clip: float = 10.0
    observation_epsilon: float = EPSILON
    environment: Mapping[str, Any] | None = None
    algorithm: str = ""
    heads: Mapping[str, NetworkSpec] = dataclasses.field(default_factory=dict)

    @property
    def acting_space(self) -> Space:
        """What has to be seen to act: the observation without what the critic alone reads."""
        reading = self.actor if self.trunk is None else self.trunk
        return chosen_entries(self.observation_space, reading.reads)

    @property
    def networks(self) -> dict[str, NetworkSpec]:
        """The networks that there are: trunk, actor, critic, and the heads by their names."""
        parts = {"trunk": self.trunk, "actor": self.actor, "critic": self.critic, **self.heads}
        return {name: network for name, network in parts.items() if network is not None}

    def with_networks(self, networks: Mapping[str, NetworkSpec]) -> PolicySpec:
        """The same with other specifications of its networks.

        Args:
            networks: By the names that `networks` has.
        """
        given: dict[str, Any] = {name: networks[name] for name in self.networks}
        heads = {name: given.pop(name) for name in self.heads}
        return dataclasses.replace(self, heads=heads, **given)

    @property
    def network_kinds(self) -> frozenset[str]:
        """Kinds of all networks, encoders within others among them."""
        kinds: set[str] = set()
        waiting: list[Any] = [network.to_json() for network in self.networks.values()]
        while waiting:
            part = waiting.pop()
            if isinstance(part, Mapping):
                kinds |= {part["kind"]} if isinstance(part.get("kind"), str) else set()
                waiting += part.values()
        return frozenset(kinds)

    def to_json(self) -> dict[str, Any]:
        """The content of ``config.json``."""
        # Those with our own value need not say so.
        is_own = self.observation_epsilon == EPSILON
        epsilon = {} if is_own else {"observation_epsilon": self.observation_epsilon}
        heads = {name: head.to_json() for name, head in self.heads.items()}
        return {
            "schema_version": POLICY.newest,
            "format": "heredity.policy",
            "observation_space": space_to_json(self.observation_space),
            "action_space": space_to_json(self.action_space),
            "actor": self.actor.to_json(),
            "critic": self.critic.to_json() if self.critic else None,
            "trunk": self.trunk.to_json() if self.trunk else None,
            **({"heads": heads} if heads else {}),
            "distribution": self.distribution.to_json(),
            "preprocessing": {
                "normalize_observations": self.normalize_observations,
                "normalize_rewards": self.normalize_rewards,
                "observation_clip": self.observation_clip,
                **epsilon,
            },
            "environment": dict(self.environment) if self.environment else None,
            "algorithm": self.algorithm,
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any], path: str = "config.json") -> PolicySpec:
        """The specification that `to_json` wrote.

        Raises:
            RefusedError: when it does not describe a policy.
        """
        if "run_id" in value and "format" not in value:
            raise RefusedError(
                path, "describes a run, not a policy", "A run has one in checkpoints/best/policy"
            )
        if value.get("format") != "heredity.policy":
            raise RefusedError(path, f"has format {value.get('format')!r}, not 'heredity.policy'")
        try:
            preprocessing = value["preprocessing"]
            distribution = DistributionSpec(**value["distribution"])
            _check_positive("initial_std", distribution.initial_std)
            _check_positive("observation_clip", preprocessing["observation_clip"])
            epsilon = preprocessing.get("observation_epsilon", EPSILON)
            if epsilon != 0:
                _check_positive("observation_epsilon", epsilon)
            for name in ("normalize_observations", "normalize_rewards"):
                if not isinstance(preprocessing[name], bool):
                    raise ValueError(f"{name} {preprocessing[name]!r}: true or false was expected")
            critic, trunk = value["critic"], value["trunk"]
            environment = value["environment"]
            if environment is not None and not (
                isinstance(environment.get("id"), str)
                and isinstance(environment.get("options"), Mapping)
            ):
                raise RefusedError(path, f"names no environment (id, options): {environment!r}")
            return cls(
                observation_space=space_from_json(value["observation_space"], path),
                action_space=space_from_json(value["action_space"], path),
                actor=NetworkSpec.from_json(value["actor"], path),
                critic=None if critic is None else NetworkSpec.from_json(critic, path),
                trunk=None if trunk is None else NetworkSpec.from_json(trunk, path),
                distribution=distribution,
                normalize_observations=preprocessing["normalize_observations"],
                normalize_rewards=preprocessing["normalize_rewards"],
                observation_clip=float(preprocessing["observation_clip"]),
                observation_epsilon=float(epsilon),
                environment=environment,
                algorithm=str(value["algorithm"]),
                heads={
                    name: NetworkSpec.from_json(head, path)
                    for name, head in value.get("heads", {}).items()
                },
            )
        except (
            ArithmeticError,
            AttributeError,
            KeyError,
            RecursionError,
            TypeError,
            ValueError,
        ) as error:
            problem = f"misses {error}" if isinstance(error, KeyError) else str(error)
            raise RefusedError(path, f"does not describe a policy ({problem})") from None


def _check_positive(name: str, value: object) -> None:
    number = float(value) if isinstance(value, int | float) else math.nan
    if isinstance(value, bool) or not 0 < number < math.inf:
        raise ValueError(f"{name} {value!r}: a finite number > 0 was expected")
