"""Environments in brax's API (`reset`, `step`, a state with obs, reward, done, metrics and info).

MuJoCo Playground's have the same. None of their wrappers are used: nothing resets itself, and both
endings are kept apart.
"""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from heredity.environments.carry import conform, stable_template
from heredity.environments.contract import JaxEnvironment, TimeStep
from heredity.environments.randomization import Worlds, world_key
from heredity.spaces import Box, Dict, Space


class BraxApiEnvironment(JaxEnvironment):
    """One environment in brax's API; what the two libraries do differently is left to subclasses.

    Args:
        env: As the library gives it, unwrapped.
        owner: Its id, for errors.
        episode_length: Steps of the environment after which an episode is truncated.
        action_repeat: Steps of the environment for each decision.
        worlds: What of its model is drawn anew for each episode.

    Attributes:
        state_type: A named tuple of the library's state, the decisions taken in this episode
            (int32), and what was drawn of each of `worlds`.
        model_attribute: Where `env` has the model that it steps.

    Raises:
        UsageError: when its state changes shape from step to step.
    """

    # A reset solves for a whole new pose: several steps' worth.
    reset_is_cheap = False
    state_type: ClassVar[Any]
    model_attribute: ClassVar[str]

    def __init__(
        self,
        env: Any,
        owner: str,
        episode_length: int,
        action_repeat: int,
        worlds: Sequence[Worlds] = (),
    ) -> None:
        self.env = env
        self.action_repeat = action_repeat
        self._limit = -(-episode_length // action_repeat)
        self.max_episode_steps = self._limit
        self._worlds = tuple(worlds)
        key = jax.eval_shape(lambda: jax.random.key(0))
        action = jax.ShapeDtypeStruct((int(env.action_size),), jnp.float32)
        self._template = stable_template(
            lambda: jax.eval_shape(env.reset, key),
            lambda state: jax.eval_shape(lambda s, a: env.step(_owned(s), a), state, action),
            owner,
        )
        self.observation_space = self.describe(self._template.obs)

    def describe(self, template: Any) -> Space:
        """The space of observations, given their shapes."""
        if isinstance(template, Mapping):
            return Dict({_key(name): Box(part.shape) for name, part in template.items()})
        return Box(template.shape)

    def reset(self, key: Any) -> tuple[Any, Any]:
        drawn = tuple(
            worlds.draw(jax.random.fold_in(world_key(key), index))
            for index, worlds in enumerate(self._worlds)
        )
        with self._in_world(drawn):
            state = conform(self.env.reset(key), self._template)
        return self.state_type(state, jnp.zeros((), jnp.int32), drawn), _observation(state.obs)

    def step(self, state: Any, action: Any) -> tuple[Any, TimeStep]:
        inner, decisions, drawn = state
        with self._in_world(drawn):
            inner, reward = self._advance(inner, action)
        decisions = decisions + 1
        terminated = inner.done > 0.5
        truncated = (decisions >= self._limit) & ~terminated
        info = {name: value for name, value in inner.metrics.items() if jnp.ndim(value) == 0}
        step = TimeStep(_observation(inner.obs), reward, terminated, truncated, info)
        return self.state_type(inner, decisions, drawn), step

    @contextlib.contextmanager
    def _in_world(self, drawn: tuple[dict[str, jax.Array], ...]) -> Iterator[None]:
        """Let the environment step a model with these parameters while this is traced."""
        if not self._worlds:
            yield
            return
        nominal = model = getattr(self.env, self.model_attribute)
        for worlds, parameters in zip(self._worlds, drawn, strict=True):
            model = worlds.apply(model, parameters)
        setattr(self.env, self.model_attribute, model)
        try:
            yield
        finally:
            setattr(self.env, self.model_attribute, nominal)

    def _advance(self, state: Any, action: Any) -> tuple[Any, jax.Array]:
        """`action_repeat` steps, or fewer when the episode ends between them."""
        after = conform(self.env.step(_owned(state), action), self._template)
        if self.action_repeat == 1:
            return after, after.reward

        def again(carry: Any, _: None) -> tuple[Any, None]:
            current, total = carry
            following = conform(self.env.step(_owned(current), action), self._template)
            over = current.done > 0.5
            kept = jax.tree.map(lambda a, b: jnp.where(over, a, b), current, following)
            return (kept, total + jnp.where(over, 0.0, following.reward)), None

        repeats = self.action_repeat - 1
        (after, reward), _ = jax.lax.scan(again, (after, after.reward), None, repeats)
        return after, reward


def _owned(state: Any) -> Any:
    """The state with dicts of its own, because their `step` writes into those it is given."""
    return state.replace(metrics=dict(state.metrics), info=dict(state.info))


def _key(name: str) -> str:
    """Observation names of ours hold no slash: it separates parts of paths."""
    return name.replace("/", ".")


def _observation(value: Any) -> Any:
    """An observation in our names and in float32."""
    if isinstance(value, Mapping):
        return {_key(name): jnp.asarray(part, jnp.float32) for name, part in value.items()}
    return jnp.asarray(value, jnp.float32)


def actuator_names(model: Any) -> tuple[str, ...]:
    """Names of the actuators of a compiled MuJoCo model, or of the joints that they move."""
    names = []
    for index in range(model.nu):
        joint = model.joint(int(model.actuator_trnid[index, 0])).name
        names.append(model.actuator(index).name or joint or f"actuator_{index}")
    return tuple(names) if len(set(names)) == len(names) else ()


# What the libraries print about themselves on every start.
_CHATTER = (
    "Failed to import warp",
    "Failed to import mujoco_warp",
    "does not have a domain randomizer",
)


@contextlib.contextmanager
def quietly() -> Iterator[None]:
    """Keep back what brax and MuJoCo say about themselves on every start; let the rest through."""
    heard = io.StringIO()
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(heard):
            # brax tells at each load that it is unmaintained, and calls what numpy deprecates.
            warnings.filterwarnings("ignore", message="Brax System, piplines and environments")
            warnings.filterwarnings("ignore", message="JAXopt is no longer maintained")
            warnings.filterwarnings("ignore", category=DeprecationWarning, module=r"brax|mujoco")
            with _models_quietly():
                yield
    finally:
        for line in heard.getvalue().splitlines():
            if not any(words in line for words in _CHATTER):
                print(line)


@contextlib.contextmanager
def _models_quietly() -> Iterator[None]:
    """Keep back MuJoCo's word on an attribute in their own files, which nobody here can change."""
    import mujoco

    before: Any = mujoco.get_mju_user_warning()

    def hear(message: str) -> None:
        if "'settotalmass' is deprecated" not in message:
            warnings.warn(message, RuntimeWarning, stacklevel=2)

    mujoco.set_mju_user_warning(hear)
    try:
        yield
    finally:
        mujoco.set_mju_user_warning(before)
