"""The beginning of a recorded episode as a world model is shown it, to see what it imagines."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from heredity.common.open_loop import Episode
from heredity.common.streams import stream
from heredity.environments import HostEnvironment, SeededEpisodes, TimeStep
from heredity.policies import ActorCritic
from heredity.policies.open_loop import observed_entries
from heredity.spaces import Space
from heredity.weights import Params

# Decisions that are kept: as many as the sequences that DreamerV3 learns from are long. Pictures
# of 64 x 64 are then 800 kB.
KEPT = 64


class Tape:
    """Keeps the first moments of environment 0 of several, within a compiled loop.

    Args:
        space: Of what the actor sees.
        most: How many decisions are kept.
    """

    def __init__(self, space: Space, most: int = KEPT) -> None:
        self._space = space
        self.most = most

    def start(self, observation: Any, memory: Any) -> dict[str, Any]:
        """With the first moment on it.

        Args:
            observation: ``(B, ...)``.
            memory: For the shape of what was done, which a world model remembers.
        """
        seen = self._of_first(observation)
        done = memory["trunk"]["action"][0]
        return {
            "observations": {
                name: jnp.zeros((self.most + 1, *value.shape), value.dtype).at[0].set(value)
                for name, value in seen.items()
            },
            "actions": jnp.zeros((self.most, *done.shape), jnp.float32),
            "rewards": jnp.zeros(self.most, jnp.float32),
        }

    def after(self, tape: dict[str, Any], t: jax.Array, memory: Any, step: TimeStep) -> Any:
        """With what decision `t` led to; later ones than are kept change nothing."""
        kept = tape["observations"]
        return {
            "observations": {
                name: kept[name].at[t + 1].set(value, mode="drop")
                for name, value in self._of_first(step.observation).items()
            },
            "actions": tape["actions"].at[t].set(memory["trunk"]["action"][0], mode="drop"),
            "rewards": tape["rewards"]
            .at[t]
            .set(jnp.asarray(step.reward[0], jnp.float32), mode="drop"),
        }

    def episode(self, tape: dict[str, Any], length: int, terminated: bool) -> Episode:
        """What is on it of an episode of `length` decisions."""
        count = min(length, self.most)
        return Episode(
            {name: np.array(values[: count + 1]) for name, values in tape["observations"].items()},
            np.array(tape["actions"][:count]),
            np.array(tape["rewards"][:count]),
            terminated and length <= self.most,
        )

    def _of_first(self, observation: Any) -> dict[str, jax.Array]:
        leaves = observed_entries(self._space, observation)
        return {name: jnp.asarray(value)[0] for name, value in leaves.items()}


def played_again(
    host: HostEnvironment,
    functions: ActorCritic,
    act: Callable[..., tuple[Any, Any]],
    params: Params,
    seed: int,
    purpose: int,
    most: int = KEPT,
) -> Episode | None:
    """The beginning of the episode that an evaluation recorded, played once more.

    None where its process died at once.

    Where an episode does not follow from its seed, it is the beginning of another.

    Args:
        host: The environment; what is played in it now is broken off.
        functions: Of the policy.
        act: As `HostPlayer` has it.
        params: All weights.
        seed: Of the evaluation.
        purpose: That is put before the seed there.
        most: How many decisions are kept.
    """
    episodes = SeededEpisodes(host, purpose | seed, is_known=True)
    key = stream(seed, "evaluate/action")
    space = functions.spec.acting_space
    observation = episodes.start()
    carry = functions.initial_carry((host.num_envs,), acting=True)
    seen, actions, rewards = [_first(space, observation)], [], []
    terminated = False
    for t in range(most):
        # As in the evaluation; episodes of the others that end are of no interest.
        is_first = episodes.episode_lengths == 0
        action, carry = act(params, observation, key, np.uint32(t), carry, is_first)
        result = episodes.step(np.asarray(action))
        if result.lost is not None and result.lost[0]:
            break
        observation = result.observation
        seen.append(_first(space, observation))
        actions.append(np.asarray(carry["trunk"]["action"])[0])
        rewards.append(float(result.reward[0]))
        ended = result.terminated | result.truncated
        if ended[0]:
            terminated = bool(result.terminated[0])
            break
        observation = episodes.reset_finished(ended)
    if not actions:
        return None
    return Episode(
        {name: np.stack([one[name] for one in seen]) for name in seen[0]},
        np.stack(actions),
        np.array(rewards, np.float32),
        terminated,
    )


def _first(space: Space, observation: Any) -> dict[str, np.ndarray]:
    leaves = observed_entries(space, observation)
    return {name: np.array(np.asarray(value)[0]) for name, value in leaves.items()}
