"""Our update beside that of Stable-Baselines3: the same goes in, the same must come out."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tests.algorithms.ppo.conformance import (
    LOGGED,
    WEIGHTS,
    assert_weights,
    first_state,
    load,
    quickly_compiled,
    under,
)

from heredity.algorithms.ppo import PPOConfig
from heredity.algorithms.ppo import update as update_module
from heredity.algorithms.ppo.advantages import explained_variance, generalized_advantages
from heredity.algorithms.ppo.algorithm import PPO
from heredity.algorithms.ppo.state import PPOState, Rollout
from heredity.algorithms.ppo.update import Minibatch, UpdateState, update
from heredity.spaces import Box, Discrete, MultiDiscrete, Space
from heredity.weights import flatten

SB3_ACTIONS: dict[str, Space] = {
    "sb3_discrete": Discrete(3),
    "sb3_box": Box((2,), -0.5, 0.5),
    "sb3_multi_discrete": MultiDiscrete((3, 2, 4)),
    "sb3_target_kl": Discrete(4),
}
SB3_CASES = sorted(SB3_ACTIONS)


class Sb3Case:
    """A fixture, and our PPO with the same settings; compiled once for all tests of the module."""

    def __init__(self, name: str) -> None:
        self.name, self.action_space = name, SB3_ACTIONS[name]
        self.tensors, about = load(name)
        self.settings, self.logged = about["settings"], about["logged"]
        self.num_steps, self.num_envs = self.tensors["0/values"].shape
        linear = "linear" if self.settings["linear"] else "constant"
        self.config = PPOConfig(
            num_envs=self.num_envs,
            num_steps=self.num_steps,
            num_epochs=self.settings["n_epochs"],
            num_minibatches=self.num_envs * self.num_steps // self.settings["batch_size"],
            learning_rate=self.settings["learning_rate"],
            learning_rate_schedule=linear,
            discount=self.settings["gamma"],
            gae_lambda=self.settings["gae_lambda"],
            clip_range=self.settings["clip_range"],
            clip_range_schedule=linear,
            clip_range_value=self.settings.get("clip_range_vf"),
            normalize_advantages=self.settings.get("normalize_advantage", True),
            entropy_coefficient=self.settings.get("ent_coef", 0.0),
            value_coefficient=self.settings["vf_coef"],
            max_grad_norm=self.settings["max_grad_norm"],
            target_kl=self.settings.get("target_kl"),
            network={"hidden": (16, 16)},
        )
        self.algorithm = self.build(self.config)
        self.initial = first_state(self.algorithm, under(self.tensors, "initial/"))
        self.learn = jax.jit(self._learn)

    def build(self, config: PPOConfig) -> PPO:
        return PPO(
            config,
            Box((self.tensors["observations"].shape[-1],)),
            self.action_space,
            schedule_timesteps=self.settings["total_timesteps"],
        )

    def _learn(
        self, state: PPOState, data: dict, order: jax.Array, numbers: dict[str, jax.Array]
    ) -> tuple[PPOState, dict[str, jax.Array]]:
        """`PPO.learn` with the order of the transitions and some settings as arguments."""
        ORDER.now = order
        config = dataclasses.replace(self.config)
        for name, value in numbers.items():
            # Past the checks of the constructor: a traced number can be compared with nothing.
            object.__setattr__(config, name, value)
        return self.build(config).learn({}, state, self.rollout(state, data))

    @property
    def parameter_size(self) -> int:
        free = 2 if isinstance(self.action_space, Box) else 1
        return free * self.algorithm.functions.family.output_size

    @property
    def updates(self) -> range:
        return range(len(self.logged))

    def of(self, number: int, name: str) -> np.ndarray:
        return self.tensors[f"{number}/{name}"]

    def order(self, number: int) -> np.ndarray:
        """SB3's shuffles, an epoch a row: it counts through environments first, we through steps.

        Epochs that SB3 never began are filled up: were we to make a step of them, it would show.
        """
        environment, step = np.divmod(self.of(number, "orders"), self.num_steps)
        made = step * self.num_envs + environment
        missing = self.config.num_epochs - len(made)
        return np.concatenate([made, np.tile(np.arange(made.shape[1]), (missing, 1))])

    def data(self, number: int) -> dict[str, np.ndarray]:
        """What SB3 collected for one update, as arrays (T, B, ...)."""
        now = slice(number * self.num_steps, (number + 1) * self.num_steps)
        actions = self.of(number, "actions")
        if isinstance(self.action_space, Discrete):
            actions = actions[..., 0]
        if not isinstance(self.action_space, Box):
            actions = actions.astype(np.int32)
        names = ("observations", "rewards", "final_observations")
        return {
            **{name: self.tensors[name][now] for name in names},
            **{n: self.tensors[n][now].astype(bool) for n in ("terminated", "truncated")},
            "raw_actions": actions,
            "log_probs": self.of(number, "log_probs"),
            "last_observation": self.tensors["observations"][now.stop],
        }

    def rollout(self, state: PPOState, data: dict[str, Any]) -> Rollout:
        """The same for us; the values of final observations are computed from our weights."""
        rest = dict(data)
        final = self.algorithm.value(state.params, rest.pop("final_observations"))
        parameters, _ = self.algorithm.functions.parameters(state.params, data["observations"])
        final_values = jnp.where(data["truncated"], final, 0.0)
        return Rollout(parameters=parameters, final_values=final_values, **rest)


class Order:
    """Stands in the place of our shuffle: a known order of the transitions."""

    now: Any = None

    def __call__(self, config: PPOConfig, key: jax.Array, items: int) -> jax.Array:
        del key
        assert np.size(self.now) == config.num_epochs * items
        return jnp.reshape(jnp.asarray(self.now), (-1, config.minibatch_size))


ORDER = Order()


@pytest.fixture(params=SB3_CASES)
def sb3(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Sb3Case:
    monkeypatch.setattr(update_module, "minibatch_indices", ORDER)
    return sb3_case(request.param)


sb3_case = functools.cache(Sb3Case)  # a program is compiled once for all tests


# Settings that are arguments of the compiled program, and what another value of them would be.
OTHERWISE = {
    "discount": 0.96,
    "gae_lambda": 0.95,
    "entropy_coefficient": 0.02,
    "value_coefficient": 0.75,
    "max_grad_norm": 1.0,
    "adam_epsilon": 1e-8,
    "clip_range": 0.15,
}


def numbers(case: Sb3Case) -> dict[str, float]:
    names = [*OTHERWISE, *(["clip_range_value"] if case.config.clip_range_value else [])]
    names += ["target_kl"] if case.config.target_kl else []
    return {name: float(getattr(case.config, name)) for name in names}


def test_sb3_collected_what_is_compared(sb3: Sb3Case):
    """The data hold every ending, the last step of an update included, and every switch is on."""
    for name in ("terminated", "truncated"):
        assert sb3.tensors[name].any() and sb3.tensors[name][sb3.num_steps - 1].any()
    norms = np.concatenate([sb3.of(n, "gradient_norms") for n in sb3.updates])
    limit = sb3.config.max_grad_norm
    assert (norms > limit).any() if limit < 100 else (norms < limit).all()
    assert max(logged["train/clip_fraction"] for logged in sb3.logged) > 0.05
    made = [sb3.of(n, "gradient_norms").size for n in sb3.updates]
    assert made == ([9, 8, 7] if sb3.name == "sb3_target_kl" else [12, 12, 12])


def test_sb3_log_probs_values_and_advantages(sb3: Sb3Case):
    """SB3 adds the discounted value of the final observation to the reward of a truncated step."""

    @quickly_compiled
    def ours(state: PPOState, data: dict[str, Any]) -> tuple[jax.Array, ...]:
        rollout = sb3.rollout(state, data)
        family = sb3.algorithm.functions.family
        values = sb3.algorithm.value(state.params, rollout.observations)
        advantages, targets = generalized_advantages(
            rollout.rewards,
            values,
            sb3.algorithm.value(state.params, rollout.last_observation),
            rollout.terminated,
            rollout.truncated,
            rollout.final_values,
            sb3.config.discount,
            sb3.config.gae_lambda,
        )
        log_probs = family.log_prob(rollout.parameters, rollout.raw_actions)
        return log_probs, values, advantages, targets, explained_variance(values, targets)

    found = ours(sb3.initial, sb3.data(0))
    names = ("log_probs", "values", "advantages", "returns")
    for name, array in zip(names, found, strict=False):
        expected = sb3.of(0, name)
        np.testing.assert_allclose(array, expected, rtol=1e-5, atol=3e-6, err_msg=name)
    np.testing.assert_allclose(found[-1], sb3.logged[0]["train/explained_variance"], atol=2e-6)


def test_sb3_whole_updates(sb3: Sb3Case):
    """Several updates one after another, each going on from our own weights and moments."""
    state = sb3.initial
    for number in sb3.updates:
        state, logged = sb3.learn(state, sb3.data(number), sb3.order(number), numbers(sb3))
        assert_weights(state.params, under(sb3.tensors, f"{number}/after/"))
        made = sb3.of(number, "gradient_norms").size
        theirs = sb3.logged[number]
        assert logged["train/gradient_steps"] == made
        same = ["policy_gradient_loss", "value_loss", "entropy_loss", "clip_range"]
        same += ["learning_rate", "explained_variance"]
        same += ["std"] if isinstance(sb3.action_space, Box) else []
        # At the end of a linear schedule nothing moves, and rounding decides what is clipped.
        over = theirs["train/clip_range"] == 0
        same += [] if over else ["clip_fraction"]
        for name in (f"train/{name}" for name in same):
            np.testing.assert_allclose(logged[name], theirs[name], err_msg=name, **LOGGED)
        if sb3.config.target_kl is None and not over:
            # With target_kl ours has the norm of the step that was not made as well.
            norm = sb3.of(number, "gradient_norms").mean()
            np.testing.assert_allclose(logged["train/grad_norm"], norm, rtol=1e-4)
    moved = [
        np.abs(np.asarray(leaf) - sb3.tensors[f"initial/{path}"]).max()
        for path, leaf in flatten(state.params).items()
    ]
    assert min(moved) > 1e-3


def test_sb3_every_gradient_step(sb3: Sb3Case):
    """One minibatch after another: each norm, SB3's last loss and its divergence of the last epoch.

    (SB3 logs the loss of the last minibatch and the divergence of the last epoch; we the means.)
    """
    theirs = sb3.logged[0]
    config = dataclasses.replace(
        sb3.config, num_epochs=1, num_minibatches=1, num_envs=1, num_steps=sb3.config.minibatch_size
    )
    data = sb3.data(0)
    stored = (sb3.of(0, name) for name in ("values", "advantages", "returns"))
    acted = (data["observations"], data["raw_actions"], data["log_probs"])
    # The exact divergence, which SB3 does not know, is what these are for.
    nothing = np.zeros((*data["rewards"].shape, sb3.parameter_size), np.float32)
    transitions = Minibatch(*acted, nothing, *stored)
    flat = jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), transitions)
    ORDER.now = np.arange(config.num_transitions)

    @quickly_compiled
    def step(state: UpdateState, batch: Minibatch) -> tuple[UpdateState, dict[str, jax.Array]]:
        clip_range = jnp.float32(theirs["train/clip_range"])
        ours, key = sb3.algorithm, jax.random.key(0)
        return update(config, ours.functions, ours.plan, {}, state, batch, clip_range, key)

    rate = np.float32(theirs["train/learning_rate"])
    state = UpdateState(sb3.initial.params, sb3.initial.optimizer, rate)
    norms: list[float] = []
    divergences: list[float] = []
    made = sb3.of(0, "gradient_norms").size
    for number, indices in enumerate(sb3.order(0).reshape(-1, config.num_transitions)):
        if number % sb3.config.num_minibatches == 0:
            divergences = []
        state, logged = step(state, jax.tree.map(lambda leaf, at=indices: leaf[at], flat))
        divergences.append(float(logged["train/approx_kl"]))
        if logged["train/gradient_steps"] == 0:
            assert number == made
            break
        norms.append(float(logged["train/grad_norm"]))
    np.testing.assert_allclose(norms, sb3.of(0, "gradient_norms"), rtol=1e-4)
    found = np.mean(divergences)
    np.testing.assert_allclose(found, theirs["train/approx_kl"], rtol=1e-3, atol=1e-7)
    np.testing.assert_allclose(logged["train/loss"], theirs["train/loss"], **LOGGED)
    assert_weights(state.params, under(sb3.tensors, "0/after/"))


def test_the_comparison_would_notice(sb3: Sb3Case):
    """With any one setting a little different, the weights are far out of tolerance."""
    ours = numbers(sb3)
    changed = {**OTHERWISE, "clip_range_value": 0.06, "target_kl": 1e9}
    changed = {name: value for name, value in changed.items() if name in ours}
    if not (sb3.of(0, "gradient_norms") > sb3.config.max_grad_norm).any():
        changed["max_grad_norm"] = 1.0
    order = sb3.order(0)

    def outside(order: np.ndarray, given: dict[str, float], faster: float = 1.0) -> float:
        """The furthest weight, as a multiple of the tolerance."""
        state = dataclasses.replace(
            sb3.initial, learning_rate=np.float32(sb3.initial.learning_rate * faster)
        )
        state, _ = sb3.learn(state, sb3.data(0), order, given)
        worst = 0.0
        for path, leaf in flatten(state.params).items():
            expected = sb3.of(0, f"after/{path}")
            allowed = WEIGHTS["atol"] + WEIGHTS["rtol"] * np.abs(expected)
            worst = max(worst, float((np.abs(np.asarray(leaf) - expected) / allowed).max()))
        return worst

    assert outside(order, ours) < 1
    found = {name: outside(order, {**ours, name: value}) for name, value in changed.items()}
    found["order"] = outside(order[::-1], ours)
    if sb3.config.learning_rate_schedule == "constant":
        found["learning_rate"] = outside(order, ours, faster=1.01)
    assert min(found.values()) > 10, found
