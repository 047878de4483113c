"""The facade that people import: ``import heredity as hd``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from heredity.algorithms.dreamer.config import DreamerConfig
from heredity.algorithms.ppo.config import PPOConfig
from heredity.algorithms.registry import ALGORITHMS
from heredity.common.errors import UsageError
from heredity.common.run_folder import RunFolder
from heredity.environments import Environment, make
from heredity.networks.own import import_networks
from heredity.policies import Policy
from heredity.training.evaluation import Evaluation, evaluate_policies, scoring_environment
from heredity.training.record import read_settings, recorded_environment
from heredity.training.trainer import Trainer, checked_directory


class PPO(Trainer[PPOConfig]):
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

    algorithm = ALGORITHMS["ppo"]


class Dreamer(Trainer[DreamerConfig]):
    """DreamerV3 on one environment: a world model, and an actor that learns in it.

    Args:
        env: As for `PPO`.
        more: As for `PPO`.
        seed: Decides every draw.
        preset: ``auto`` for the tuned settings of this environment if there are any, ``none``, the
            id of an environment whose settings are wanted, or a size such as ``size1m``.
        config: All settings at once, instead of a preset.
        start: As for `PPO`.
        post_init: As for `PPO`.
        settings: Fields of `DreamerConfig` to override.

    Raises:
        UnknownNameError: for an unknown setting, preset or environment.
        UsageError: for what is no environment, such as an object of Gymnasium.

    Example:
        >>> model = Dreamer("gymnax/Catch-bsuite", preset="size1m", train_ratio=64)
        >>> model.config.deter, model.config.train_ratio
        (512, 64.0)
    """

    algorithm = ALGORITHMS["dreamer"]


TRAINERS: Mapping[str, type[Trainer[Any]]] = {"ppo": PPO, "dreamer": Dreamer}
"""Of each algorithm, by its name in files."""


def resume(
    directory: str | Path, env: str | Environment | None = None, *, trust: Sequence[str] = ()
) -> Trainer[Any]:
    """The model of a run, to go on with: its `learn` and `run` do, bit for bit.

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
    folder = RunFolder(checked_directory(directory))
    record = folder.read_config(sealed=True)
    config, settings = read_settings(folder, record)
    import_networks(config.own_networks, trust)
    if env is None:
        environment = recorded_environment(folder, record, config.num_envs, trust)
    elif isinstance(env, str):
        environment = make(env, config.num_envs)
    else:
        environment = env
    kind = TRAINERS[config.algorithm]
    return kind.of_run(folder, config, settings.seed, environment, environment is env)


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
