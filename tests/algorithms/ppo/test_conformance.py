"""Our update beside those of Stable-Baselines3 and brax: the same goes in, the same has to come out.

The fixtures were made by the libraries themselves (`benchmarks/conformance/`, versions in each file).
Everything is float32 on both sides, where torch, XLA and numpy sum in different orders. Seen on
x86-64: after three updates of 12 Adam steps weights differ by at most 4e-6, what is logged by a relative
1e-5. The tolerances are some ten times that; each of the mistakes one might make moves the numbers
by a hundred times more (`test_the_comparison_would_notice`).
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from heredity.algorithms.ppo import PPOConfig
from heredity.algorithms.ppo import algorithm as algorithm_module
from heredity.algorithms.ppo import update as update_module
from heredity.algorithms.ppo.advantages import explained_variance, generalized_advantages
from heredity.algorithms.ppo.algorithm import PPO, PPOState, Rollout
from heredity.algorithms.ppo.update import Minibatch, UpdateState, update
from heredity.common.tensors import read_tensors
from heredity.networks.distributions import TanhNormal
from heredity.networks.normalizer import init_statistics, update_statistics
from heredity.spaces import Box, Discrete, MultiDiscrete, Space
from heredity.weights import Params, flatten, unflatten

FOLDER = Path(__file__).resolve().parents[2] / "fixtures" / "ppo"
WEIGHTS = {"rtol": 1e-4, "atol": 5e-5}
LOGGED = {"rtol": 1e-4, "atol": 2e-6}

SB3_ACTIONS: dict[str, Space] = {
    "sb3_discrete": Discrete(3),
    "sb3_box": Box((2,), -0.5, 0.5),
    "sb3_multi_discrete": MultiDiscrete((3, 2, 4)),
    "sb3_target_kl": Discrete(4),
}
SB3_CASES = sorted(SB3_ACTIONS)
BRAX_CASES = ["brax_adaptive_kl", "brax_update"]


def load(name: str) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Tensors of a fixture, and what is said of them."""
    tensors, metadata = read_tensors(FOLDER / f"{name}.safetensors")
    return tensors, json.loads(metadata["about"])


def under(tensors: dict[str, np.ndarray], prefix: str) -> dict[str, np.ndarray]:
    return {path.removeprefix(prefix): t for path, t in tensors.items() if path.startswith(prefix)}


def assert_weights(found: Params, expected: dict[str, np.ndarray]) -> None:
    leaves = flatten(found)
    assert leaves.keys() == expected.keys()
    for path, leaf in leaves.items():
        np.testing.assert_allclose(np.asarray(leaf), expected[path], err_msg=path, **WEIGHTS)


def with_weights(state: PPOState, leaves: dict[str, np.ndarray]) -> PPOState:
    """The state with given weights, which have to be those of our networks by path and shape."""
    params = jax.tree.map(jnp.asarray, unflatten(leaves))
    assert jax.tree.map(jnp.shape, params) == jax.tree.map(jnp.shape, state.params)
    return dataclasses.replace(state, params=params)


# --- Stable-Baselines3 --------------------------------------------------------------------------


@dataclasses.dataclass
class Sb3Case:
    """A fixture, and our PPO with the same settings."""

    name: str

    def __post_init__(self) -> None:
        self.tensors, about = load(self.name)
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
            actor_hidden=(16, 16),
            critic_hidden=(16, 16),
        )
        self.algorithm = self.build(self.config)

    def build(self, config: PPOConfig) -> PPO:
        return PPO(
            config,
            Box((self.tensors["observations"].shape[-1],)),
            SB3_ACTIONS[self.name],
            schedule_timesteps=self.settings["total_timesteps"],
        )

    def state(self) -> PPOState:
        return with_weights(self.algorithm.init(0)[1], under(self.tensors, "initial/"))

    @property
    def updates(self) -> range:
        return range(len(self.logged))

    def of(self, number: int, name: str) -> np.ndarray:
        return self.tensors[f"{number}/{name}"]

    def orders(self, number: int) -> np.ndarray:
        """SB3's shuffles in our numbering: it counts steps within environments, we the other way."""
        environment, step = np.divmod(self.of(number, "orders"), self.num_steps)
        return step * self.num_envs + environment

    def rollout(self, state: PPOState, number: int) -> Rollout:
        """What SB3 collected; values and parameters are computed by us from our weights."""
        now = slice(number * self.num_steps, (number + 1) * self.num_steps)
        observations = self.tensors["observations"][now]
        truncated = self.tensors["truncated"][now].astype(bool)
        final = self.algorithm.value(state.params, self.tensors["final_observations"][now])
        actions = self.of(number, "actions")
        if isinstance(SB3_ACTIONS[self.name], Discrete):
            actions = actions[..., 0]
        if not isinstance(SB3_ACTIONS[self.name], Box):
            actions = actions.astype(np.int32)
        return Rollout(
            observations=jnp.asarray(observations),
            raw_actions=jnp.asarray(actions),
            log_probs=jnp.asarray(self.of(number, "log_probs")),
            parameters=self.algorithm.functions.parameters(state.params, observations)[0],
            rewards=jnp.asarray(self.tensors["rewards"][now]),
            terminated=jnp.asarray(self.tensors["terminated"][now].astype(bool)),
            truncated=jnp.asarray(truncated),
            final_values=jnp.where(truncated, final, 0.0),
            last_observation=jnp.asarray(self.tensors["observations"][now.stop]),
        )


@pytest.fixture(params=SB3_CASES)
def sb3(request: pytest.FixtureRequest) -> Sb3Case:
    return Sb3Case(request.param)


class Order:
    """Puts a known order of transitions in the place of our shuffles, as data of the program."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now: jax.Array | np.ndarray = np.zeros(0, np.int32)

        def indices(config: PPOConfig, key: jax.Array) -> jax.Array:
            del key
            assert np.size(self.now) == config.num_epochs * config.num_transitions
            return jnp.reshape(jnp.asarray(self.now), (-1, config.minibatch_size))

        monkeypatch.setattr(update_module, "minibatch_indices", indices)


@pytest.fixture
def order(monkeypatch: pytest.MonkeyPatch) -> Order:
    return Order(monkeypatch)


def full_orders(case: Sb3Case, number: int) -> np.ndarray:
    """With the epochs that SB3 never began filled up: if we made one of them, it would show."""
    made = case.orders(number)
    missing = case.config.num_epochs - len(made)
    return np.concatenate([made, np.tile(np.arange(made.shape[1]), (missing, 1))])


def learner(case: Sb3Case, order: Order, algorithm: PPO | None = None) -> Any:
    """`PPO.learn`, compiled once, with the order of the transitions as an argument."""
    ours = algorithm or case.algorithm

    @jax.jit
    def learn(state: PPOState, rollout: Rollout, indices: jax.Array) -> Any:
        order.now = indices
        return ours.learn({}, state, rollout)

    return learn


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


def test_sb3_log_probs_and_values(sb3: Sb3Case):
    state = sb3.state()
    rollout = sb3.rollout(state, 0)
    ours = sb3.algorithm.functions.family.log_prob(rollout.parameters, rollout.raw_actions)
    np.testing.assert_allclose(ours, rollout.log_probs, rtol=1e-5, atol=1e-6)
    values = sb3.algorithm.value(state.params, rollout.observations)
    np.testing.assert_allclose(values, sb3.of(0, "values"), rtol=1e-5, atol=1e-6)


def test_sb3_advantages(sb3: Sb3Case):
    """SB3 adds the discounted value of the final observation to the reward of a truncated step."""
    state = sb3.state()
    rollout = sb3.rollout(state, 0)
    advantages, targets = generalized_advantages(
        rollout.rewards,
        jnp.asarray(sb3.of(0, "values")),
        sb3.algorithm.value(state.params, rollout.last_observation),
        rollout.terminated,
        rollout.truncated,
        rollout.final_values,
        sb3.config.discount,
        sb3.config.gae_lambda,
    )
    np.testing.assert_allclose(advantages, sb3.of(0, "advantages"), rtol=1e-5, atol=2e-6)
    np.testing.assert_allclose(targets, sb3.of(0, "returns"), rtol=1e-5, atol=2e-6)
    logged = explained_variance(jnp.asarray(sb3.of(0, "values")), targets)
    np.testing.assert_allclose(logged, sb3.logged[0]["train/explained_variance"], rtol=1e-4)


def test_sb3_whole_updates(sb3: Sb3Case, order: Order):
    """Several updates one after another, each going on from our own weights and moments."""
    state, learn = sb3.state(), learner(sb3, order)
    for number in sb3.updates:
        state, logged = learn(state, sb3.rollout(state, number), full_orders(sb3, number))
        assert_weights(state.params, under(sb3.tensors, f"{number}/after/"))
        made = sb3.of(number, "gradient_norms").size
        theirs = sb3.logged[number]
        assert logged["train/gradient_steps"] == made
        same = ["policy_gradient_loss", "value_loss", "entropy_loss", "clip_fraction", "clip_range"]
        same += ["learning_rate", "explained_variance"]
        if isinstance(SB3_ACTIONS[sb3.name], Box):
            same.append("std")
        for name in (f"train/{name}" for name in same):
            np.testing.assert_allclose(logged[name], theirs[name], err_msg=name, **LOGGED)
        if sb3.config.target_kl is None:  # else ours has the norm of the step not made as well
            norm = sb3.of(number, "gradient_norms").mean()
            np.testing.assert_allclose(logged["train/grad_norm"], norm, rtol=2e-4)
    moved = [
        np.abs(leaf - sb3.tensors[f"initial/{path}"]).max()
        for path, leaf in flatten(state.params).items()
    ]
    assert min(moved) > 1e-3


def test_sb3_every_gradient_step(sb3: Sb3Case, order: Order, monkeypatch: pytest.MonkeyPatch):
    """One minibatch after another: each norm, SB3's last loss and its divergence of the last epoch."""
    kept: dict[str, Any] = {}

    def taking(config: Any, functions: Any, frozen: Any, state: Any, batch: Any, *rest: Any) -> Any:
        kept.update(state=state, batch=batch, clip_range=rest[0])
        return update(config, functions, frozen, state, batch, *rest)

    monkeypatch.setattr(algorithm_module, "update", taking)
    order.now = full_orders(sb3, 0)
    state = sb3.state()
    sb3.algorithm.learn({}, state, sb3.rollout(state, 0))
    single = dataclasses.replace(
        sb3.config, num_epochs=1, num_minibatches=1, num_envs=1, num_steps=sb3.config.minibatch_size
    )

    @jax.jit
    def step(now: UpdateState, batch: Minibatch, indices: jax.Array) -> Any:
        order.now = np.arange(single.num_transitions)
        chosen = jax.tree.map(lambda leaf: leaf[indices], batch)
        clip_range, key = kept["clip_range"], jax.random.key(0)
        return update(single, sb3.algorithm.functions, {}, now, chosen, clip_range, key)

    epochs = sb3.orders(0).reshape(-1, sb3.config.num_minibatches, single.minibatch_size)
    now, norms = kept["state"], []
    for epoch in epochs:
        divergences = []
        for indices in epoch:
            now, logged = step(now, kept["batch"], indices)
            divergences.append(float(logged["train/approx_kl"]))
            if logged["train/gradient_steps"] == 0:
                break
            norms.append(float(logged["train/grad_norm"]))
    np.testing.assert_allclose(norms, sb3.of(0, "gradient_norms"), rtol=2e-4)
    theirs = sb3.logged[0]
    np.testing.assert_allclose(np.mean(divergences), theirs["train/approx_kl"], rtol=1e-3, atol=1e-7)
    np.testing.assert_allclose(float(logged["train/loss"]), theirs["train/loss"], **LOGGED)
    assert_weights(now.params, under(sb3.tensors, "0/after/"))


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("sb3_discrete", {"normalize_advantages": False}),
        ("sb3_discrete", {"entropy_coefficient": 0.0}),
        ("sb3_discrete", {"learning_rate_schedule": "constant"}),
        ("sb3_discrete", {"clip_range_schedule": "constant"}),
        ("sb3_discrete", {"gae_lambda": 0.95}),
        ("sb3_discrete", {"adam_epsilon": 1e-8}),
        ("sb3_box", {"clip_range_value": None}),
        ("sb3_box", {"max_grad_norm": 0.5}),
        ("sb3_multi_discrete", {"value_coefficient": 0.5}),
        ("sb3_target_kl", {"target_kl": None}),
    ],
    ids=lambda value: value if isinstance(value, str) else next(iter(value)),
)
def test_the_comparison_would_notice(name: str, changes: dict[str, Any], order: Order):
    """With one setting different, the weights are out of tolerance after the updates."""
    case = Sb3Case(name)
    learn = learner(case, order, case.build(dataclasses.replace(case.config, **changes)))
    state = case.state()
    for number in list(case.updates)[:2]:
        state, _ = learn(state, case.rollout(state, number), full_orders(case, number))
    with pytest.raises(AssertionError):
        assert_weights(state.params, under(case.tensors, "1/after/"))


# --- brax -----------------------------------------------------------------------------------------


def skipped(rewards: Any, values: Any, discount: float) -> Any:
    """The final values with which a truncated step counts for nothing, as it does in brax.

    brax never sees the last observation of a truncated episode. It takes the step out: its error and
    its advantage are zero, its target is its value. That is what comes out if the value of the true
    last observation is ``(value - reward) / discount``. (Its `bootstrap_on_timeout` adds
    ``discount * V(s)`` of the observation *before* the step, where we use the one after it.)
    """
    return (values - rewards) / discount


@pytest.mark.parametrize("kind", ["plain", "truncated"])
def test_brax_advantages(kind: str):
    """Targets agree; brax's advantages are ours with one lambda less on what comes later.

    `compute_gae` gives the policy ``r + discount * target(next) - value`` (the V-trace form) instead
    of GAE's own sum. With ``A`` for GAE that is ``A + discount * (1 - lambda) * A(next)``: the same
    at lambda = 1 alone.
    """
    tensors, about = load("brax_advantages")
    discount, gae_lambda = about["settings"]["discount"], about["settings"]["lambda_"]
    terminated = tensors["terminated"].astype(bool)
    truncated = tensors["truncated"].astype(bool) & (kind == "truncated")
    rewards, values = jnp.asarray(tensors["rewards"]), jnp.asarray(tensors["values"])
    advantages, targets = generalized_advantages(
        rewards,
        values,
        jnp.asarray(tensors["last_value"]),
        jnp.asarray(terminated),
        jnp.asarray(truncated),
        skipped(rewards, values, discount),
        discount,
        gae_lambda,
    )
    np.testing.assert_allclose(targets, tensors[f"{kind}/targets"], rtol=1e-5, atol=2e-6)
    later = np.concatenate([advantages[1:], np.zeros_like(advantages[:1])])
    goes_on = 1.0 - (terminated | truncated)
    theirs = np.asarray(advantages) + discount * (1 - gae_lambda) * goes_on * later
    np.testing.assert_allclose(theirs, tensors[f"{kind}/advantages"], rtol=1e-5, atol=2e-6)
    assert truncated.any() == (kind == "truncated")


def brax_case(name: str) -> tuple[PPO, PPOState, dict[str, np.ndarray], dict[str, Any]]:
    tensors, about = load(name)
    settings = about["settings"]
    num_steps, num_envs = tensors["rewards"].shape
    adaptive = settings.get("learning_rate_schedule") == "ADAPTIVE_KL"
    config = PPOConfig(
        num_envs=num_envs,
        num_steps=num_steps,
        num_epochs=1,
        num_minibatches=1,
        learning_rate=settings["learning_rate"],
        learning_rate_schedule="adaptive_kl" if adaptive else "constant",
        desired_kl=settings.get("desired_kl", 0.01),
        learning_rate_max=settings.get("learning_rate_schedule_max_lr", 1e-2),
        discount=settings["discounting"],
        gae_lambda=settings["gae_lambda"],
        clip_range=settings["clipping_epsilon"],
        normalize_advantages=settings["normalize_advantage"],
        entropy_coefficient=settings["entropy_cost"],
        # brax halves its squared error and then applies its coefficient.
        value_coefficient=0.5 * settings["vf_loss_coefficient"],
        max_grad_norm=settings["max_grad_norm"],
        adam_epsilon=1e-8,
        reward_scale=settings["reward_scaling"],
        distribution="tanh_normal",
        actor_hidden=(16, 16),
        critic_hidden=(16, 16),
        activation="swish",
    )
    actions = Box((tensors["raw_actions"].shape[-1],), -1.0, 1.0)
    observations = Box((tensors["observations"].shape[-1],))
    algorithm = PPO(config, observations, actions, schedule_timesteps=10**9)
    state = with_weights(algorithm.init(0)[1], under(tensors, "initial/"))
    return algorithm, state, tensors, settings


@pytest.mark.parametrize("name", BRAX_CASES)
def test_brax_whole_update(name: str):
    """`ppo.train` passes over its batch several times and estimates advantages anew in each.

    We estimate them once an update, so that one of its passes is one update of ours from the same
    rollout. Compared are the losses and the divergence of each pass, the weights half way and at
    the end, and by them the learning rates.
    """
    algorithm, state, tensors, settings = brax_case(name)
    assert settings["gae_lambda"] == 1.0  # see test_brax_advantages
    truncated = jnp.asarray(tensors["truncated"].astype(bool))
    rewards = jnp.asarray(tensors["rewards"])
    observations = jnp.asarray(tensors["observations"])

    @jax.jit
    def one_pass(state: PPOState) -> Any:
        values = algorithm.value(state.params, observations)
        scaled = rewards * settings["reward_scaling"]
        rollout = Rollout(
            observations=observations,
            raw_actions=jnp.asarray(tensors["raw_actions"]),
            log_probs=jnp.asarray(tensors["log_probs"]),
            parameters=jnp.asarray(tensors["distribution_parameters"]),
            rewards=rewards,
            terminated=jnp.asarray(tensors["terminated"].astype(bool)),
            truncated=truncated,
            final_values=skipped(scaled, values, settings["discounting"]),
            last_observation=jnp.asarray(tensors["last_observation"]),
        )
        return algorithm.learn({}, state, rollout)

    theirs = under(tensors, "passes/")
    middle = settings["num_updates_per_batch"] // 2
    rates, norms = [], []
    for number in range(settings["num_updates_per_batch"]):
        if number == middle:
            assert_weights(state.params, under(tensors, "middle/"))
        state, logged = one_pass(state)
        rates.append(float(logged["train/learning_rate"]))
        norms.append(float(logged["train/grad_norm"]))
        weighted = algorithm.config.value_coefficient * logged["train/value_loss"]
        np.testing.assert_allclose(weighted, theirs["v_loss"][number], **LOGGED)
        found = logged["train/policy_gradient_loss"]
        np.testing.assert_allclose(found, theirs["policy_loss"][number], **LOGGED)
        np.testing.assert_allclose(logged["train/loss"], theirs["total_loss"][number], **LOGGED)
        # brax adds 1e-5 inside each logarithm, here of two dimensions.
        kl = logged["train/kl"]
        np.testing.assert_allclose(kl, theirs["kl_mean"][number], rtol=1e-3, atol=2.5e-5)
    assert_weights(state.params, under(tensors, "after/"))
    assert max(norms) > algorithm.config.max_grad_norm
    assert bool(truncated.any()) == (name == "brax_adaptive_kl")
    if name == "brax_adaptive_kl":  # faster, at the limit, kept, slower
        np.testing.assert_allclose(rates[:3], [1.5e-3, 2.25e-3, 3e-3], rtol=1e-6)
        assert rates[-1] < rates[3] == rates[2]
    else:
        assert set(rates) == {rates[0]}


def test_brax_distribution(monkeypatch: pytest.MonkeyPatch):
    """Densities, divergence, squashing, and the entropy estimated from the same draw."""
    tensors, _ = load("brax_distributions")
    noise = jnp.asarray(tensors["noise"])
    monkeypatch.setattr(jax.random, "normal", lambda key, shape, dtype: noise.reshape(shape))
    family = TanhNormal(Box((3,), -1.0, 1.0))
    old, new = jnp.asarray(tensors["old"]), jnp.asarray(tensors["new"])
    close = {"rtol": 1e-5, "atol": 1e-5}
    raw = family.sample(old, jax.random.key(0))
    np.testing.assert_allclose(raw, tensors["raw_actions"], **close)
    np.testing.assert_allclose(family.to_action(raw), tensors["actions"], **close)
    np.testing.assert_allclose(family.log_prob(new, raw), tensors["log_prob"], **close)
    entropy = family.entropy(old, jax.random.key(0))
    np.testing.assert_allclose(entropy, tensors["entropy"], **close)
    mode = family.to_action(family.mode(new))
    np.testing.assert_allclose(mode, tensors["mode"], **close)
    # Undo the 1e-5 that brax adds inside the logarithm of the ratio of the deviations.
    scale = [np.log1p(np.exp(p[:, 3:])) + 0.001 for p in (tensors["old"], tensors["new"])]
    ratio = scale[1] / scale[0]
    exact = tensors["kl"] - (np.log(ratio + 1e-5) - np.log(ratio)).sum(axis=-1)
    np.testing.assert_allclose(family.kl(old, new), exact, rtol=1e-4, atol=1e-4)


def test_brax_running_statistics():
    """Mean and deviation after each batch, whatever its size; features differ in scale by 3000."""
    tensors, _ = load("brax_statistics")
    statistics = init_statistics((3,))
    for index in range(3):
        statistics = update_statistics(statistics, jnp.asarray(tensors[f"{index}/batch"]))
        np.testing.assert_allclose(statistics["mean"], tensors[f"{index}/mean"], rtol=1e-5)
        deviation = np.sqrt(statistics["variance"])
        np.testing.assert_allclose(deviation, tensors[f"{index}/std"], rtol=1e-4)
