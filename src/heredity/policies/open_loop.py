"""What the world model of a policy imagines of an episode, beside what really happened."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np

from heredity.common.errors import UsageError
from heredity.common.open_loop import Entry, Episode, OpenLoop, Prediction
from heredity.networks.observations import leaf_observations, leaf_spaces, map_entries
from heredity.networks.pictures import largest_value, picture_spaces
from heredity.networks.world_model import Decoder, Head, Rssm, State
from heredity.networks.world_model.heads import expectation
from heredity.policies.actor_critic import ActorCritic
from heredity.policies.policy import Policy
from heredity.spaces import Box, Space
from heredity.weights import Params

CONTEXT = 5  # moments that are seen, unless the episode is shorter than twice that
HEADS = ("decoder", "reward", "continue")


def lacking_world_model(functions: ActorCritic) -> str:
    """What a policy lacks to imagine anything, in words; empty when it has it all."""
    if not isinstance(functions.trunk, Rssm):
        return "it has no world model (its trunk is no rssm): DreamerV3 trains policies with one"
    missing = [name for name in HEADS if name not in functions.heads]
    return f"its world model has no {' and no '.join(missing)}" if missing else ""


def entry_name(path: str) -> str:
    """The name of an entry of observations, from its path.

    Example:
        >>> entry_name("observation/camera/left"), entry_name("observation")
        ('camera/left', 'observation')
    """
    return path.removeprefix("observation/")


def observed_entries(space: Space, observation: Any) -> dict[str, Any]:
    """The arrays of an observation by the names that an `Episode` has for them."""
    return {entry_name(path): v for path, v in leaf_observations(space, observation).items()}


class Imagination:
    """Predicts episodes with the world model of policies of one specification.

    Compiled once for each number of moments.

    Args:
        functions: Of the policies.

    Raises:
        UsageError: when they have no world model.
    """

    def __init__(self, functions: ActorCritic) -> None:
        if lacks := lacking_world_model(functions):
            raise UsageError(f"the policy cannot imagine: {lacks}")
        self._functions = functions
        self._rssm = cast(Rssm, functions.trunk)
        self._decoder = cast(Decoder, functions.heads["decoder"])
        self._space = functions.spec.acting_space
        spaces = leaf_spaces(self._space)
        pictures = picture_spaces(self._space)
        # What the decoder predicts and the actor does not see was not recorded.
        self._leaves = {path: spaces[path] for path in self._decoder.entries if path in spaces}
        self.entries = {
            entry_name(path): _entry(leaf, path in pictures) for path, leaf in self._leaves.items()
        }
        self._compiled = jax.jit(self._predicted)

    def predict(
        self,
        params: Params,
        episode: Episode,
        context: int | None = None,
        seed: int | None = None,
        *,
        padded: int = 0,
    ) -> OpenLoop:
        """What the model expects of the moments of an episode.

        Args:
            params: All weights.
            episode: What really happened.
            context: How many moments it sees before it only imagines; default: 5, or half of a
                shorter episode.
            seed: Decides what is drawn; None for the most likely of everything.
            padded: As many moments, if there are fewer, are computed, so that episodes of all
                lengths share one program.

        Raises:
            UsageError: for a context that leaves nothing to imagine.
        """
        moments = episode.moments
        context = min(CONTEXT, moments // 2) if context is None else context
        if not 1 <= context < moments:
            raise UsageError(
                f"context {context}: the episode has {moments} moments, of which 1 to "
                f"{moments - 1} can be seen before the rest is imagined"
            )
        size = max(moments, padded)
        observation = map_entries(
            self._space,
            lambda path, leaf, _: _lengthened(episode.observations[entry_name(path)], size),
        )
        actions = _lengthened(np.asarray(episode.actions, np.float32), size - 1)
        chances = (None, None)
        if seed is not None:
            # With numpy, because it takes longer to compile a draw than to make it.
            draw = np.random.default_rng(seed)
            groups = self._rssm.options.groups
            of_seen, of_imagined = (
                draw.random((count, 1, groups), np.float32) for count in (size, size - 1)
            )
            chances = (of_seen, of_imagined)
        found = jax.device_get(self._compiled(params, observation, actions, context, chances))
        seen, imagined = (self._told(found, index, moments) for index in range(2))
        return OpenLoop(episode, self.entries, context, seen, imagined, seed)

    def _told(self, found: Mapping[str, Any], index: int, moments: int) -> Prediction:
        """One of two predictions, as far as there was an episode, in the units of the entries."""
        observations = {}
        for path, leaf in self._leaves.items():
            values = found["observations"][path][index, :moments]
            if self.entries[entry_name(path)].kind == "picture":
                assert isinstance(leaf, Box)
                values = values * np.float32(largest_value(leaf))
                if np.issubdtype(leaf.dtype, np.integer):
                    values = np.rint(values).astype(leaf.dtype)
            observations[entry_name(path)] = values
        rewards, goes_on = (found[name][index, :moments] for name in ("rewards", "goes_on"))
        return Prediction(observations, rewards, goes_on)

    def _predicted(
        self,
        params: Params,
        observation: Any,
        actions: jax.Array,
        context: jax.Array,
        chances: tuple[Any, Any],
    ) -> dict[str, Any]:
        """Predictions of N moments with open eyes, and with eyes that close: ``(2, N, ...)``."""
        rssm, trunk = self._rssm, params["trunk"]
        moments = len(actions) + 1
        seen = self._functions.preprocess(params, observation, self._space)
        tokens = rssm.tokens(trunk, jax.tree.map(lambda leaf: leaf[:, None], seen))
        before = jnp.concatenate([jnp.zeros_like(actions[:1]), actions])[:, None]
        is_first = (jnp.arange(moments) == 0)[:, None]
        states, _ = rssm.observe(trunk, tokens, rssm.start((1,)), before, is_first, chances[0])
        # The actions from the last moment that is seen on; beyond the episode any will do.
        which = jnp.minimum(context - 1 + jnp.arange(moments - 1), moments - 2)
        features, _ = rssm.imagine(
            trunk,
            State(*(part[context - 1] for part in states)),
            lambda _, action: (None, action),
            (actions[which][:, None], chances[1]),
            moments - 1,
        )
        moment = jnp.arange(moments)
        later = features[jnp.maximum(moment - context + 1, 0)]
        imagined = jnp.where((moment < context)[:, None, None], states.features, later)
        both = jnp.stack([states.features, imagined])[:, :, 0]
        shown = self._decoder.shown(params["decoder"], both)
        reward, going_on = (
            cast(Head, self._functions.heads[name]).outputs(params[name], both)[0]
            for name in ("reward", "continue")
        )
        return {
            "observations": {path: shown[path] for path in self._leaves},
            "rewards": expectation(reward),
            "goes_on": jax.nn.sigmoid(going_on[..., 0]),
        }


def open_loop(
    policy: Policy, episode: Episode, context: int | None = None, seed: int | None = None
) -> OpenLoop:
    """What a policy's world model imagines of an episode, beside what really happened.

    For `context` moments it sees what is there, and each is reconstructed. Then it is told no more
    than what was done.

    Args:
        policy: One with a world model, as DreamerV3 trains.
        episode: What really happened, in the policy's observation space.
        context: How many moments are seen; default: 5, or half of a shorter episode.
        seed: Decides what is drawn; None for the most likely of everything.

    Raises:
        UsageError: for a policy without a world model; for a context that leaves nothing to
            imagine; for an episode that is not of the policy's spaces.
    """
    imagination = Imagination(policy.functions)
    _check_episode(policy, episode)
    return imagination.predict(policy.params, episode, context, seed)


def _check_episode(policy: Policy, episode: Episode) -> None:
    space, moments = policy.spec.acting_space, episode.moments
    wanted = {entry_name(path): leaf for path, leaf in leaf_spaces(space).items()}
    for name, leaf in wanted.items():
        shape = np.shape(leaf.sample(np.random.default_rng(0)))
        given = np.shape(episode.observations[name]) if name in episode.observations else None
        if given != (moments, *shape):
            told = "nothing" if given is None else f"the shape {given}"
            raise UsageError(
                f"the episode has {told} for the entry {name!r}: {(moments, *shape)} was expected "
                f"for {moments} moments of the policy's space"
            )
    width = cast(Rssm, policy.functions.trunk).options.actions
    if np.shape(episode.actions) != (moments - 1, width):
        raise UsageError(
            f"the episode's actions have the shape {np.shape(episode.actions)}: "
            f"{(moments - 1, width)} was expected, as the world model reads them"
        )


def _entry(leaf: Space, is_picture: bool) -> Entry:
    if is_picture:
        assert isinstance(leaf, Box)
        return Entry("picture", largest_value(leaf))
    if isinstance(leaf, Box):
        return Entry("numbers", columns=tuple(leaf.names) if len(leaf.shape) == 1 else ())
    return Entry("choice")


def _lengthened(values: np.ndarray, size: int) -> np.ndarray:
    """The same with zeros after it."""
    values = np.asarray(values)
    return np.concatenate([values, np.zeros((size - len(values), *values.shape[1:]), values.dtype)])
