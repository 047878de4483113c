import dataclasses
import logging
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny_runs import CONFIG, Fault, Faulty, environment

import heredity as hd
from heredity.algorithms.ppo.networks import policy_spec
from heredity.common.errors import MismatchError, UsageError
from heredity.common.recording import Recording
from heredity.environments import SeededEpisodes, make
from heredity.environments.contract import TimeStep
from heredity.environments.hosted import HostedEnvironment
from heredity.environments.probes import AlwaysTerminated, ProbeState
from heredity.environments.wrappers.base import JaxWrapper
from heredity.policies import ActorCritic, Policy
from heredity.spaces import Box
from heredity.training.evaluation import BATCH, Evaluation, Evaluator
from heredity.viewer.rollouts import signals_payload


def policy(env, seed: int = 0) -> Policy:
    spec = policy_spec(CONFIG, env.observation_space, env.action_space)
    if env.spec is not None:
        spec = dataclasses.replace(spec, environment=env.spec.to_json())
    return Policy(spec, ActorCritic(spec).init(seed))


class Uneven(AlwaysTerminated):
    """Episodes of one or of six decisions, by the sign drawn at the reset; reward 1 each."""

    def step(self, state: ProbeState, action) -> tuple[ProbeState, TimeStep]:
        after, result = super().step(state, action)
        short = (state.sign > 0) & (after.time >= 1)
        return after, result._replace(terminated=result.terminated | short)


@pytest.mark.parametrize("host", [False, True])
def test_returns_and_lengths(host: bool):
    env = make("probe/always-truncated", 3, length=7, host=host)
    played = Evaluator(policy(env).spec, env, 5).evaluate(policy(env).params)
    assert played.returns.tolist() == [7.0] * 5 and played.lengths.tolist() == [7] * 5
    assert (played.mean, played.std, played.episodes, played.cut) == (7.0, 0.0, 5, 0)
    assert played.score() == {"mean_return": 7.0, "std_return": 0.0, "episodes": 5}


@pytest.mark.parametrize("host", [False, True])
@pytest.mark.parametrize("deterministic", [False, True])
def test_equal_seeds_are_equal_episodes(host: bool, deterministic: bool):
    env = environment(host=host)
    evaluator = Evaluator(policy(env).spec, env, 8, deterministic=deterministic)
    first, again, other = (evaluator.evaluate(policy(env).params, seed) for seed in (3, 3, 4))
    assert first.deterministic is deterministic
    np.testing.assert_array_equal(first.returns, again.returns)
    assert not np.array_equal(first.returns, other.returns) or deterministic


class Broken(JaxWrapper):
    """An environment with one sensor more, which fails in every episode."""

    def __init__(self, env) -> None:
        super().__init__(env)
        self.observation_space = Box((2,), (-1.0, -np.inf), (1.0, np.inf), names=("signal", "dead"))

    def reset(self, key):
        state, seen = self.env.reset(key)
        return state, jnp.concatenate([seen, jnp.zeros(1)])

    def step(self, state, action) -> tuple:
        state, result = self.env.step(state, action)
        dead = jnp.where(state.time > 1, jnp.nan, 0.0)
        seen = jnp.concatenate([result.observation, dead[None]])
        return state, result._replace(observation=seen)


@pytest.mark.parametrize(("host", "deterministic"), [(False, True), (True, False), (True, True)])
def test_a_new_sensor_may_fail_while_a_policy_is_evaluated(host: bool, deterministic: bool):
    whole = environment()
    before = policy(whole)
    moved, _ = before.transfer(before.plan_transfer(add=["dead"]))
    broken = Broken(whole)
    returns, units = [], []
    for env, one in ((whole, before), (broken, moved)):
        there = HostedEnvironment(env, CONFIG.num_envs) if host else env
        evaluator = Evaluator(one.spec, there, 8, deterministic=deterministic, record=not host)
        played = evaluator.evaluate(one.params, 3)
        returns.append(played.returns)
        units.append(played.units)
    np.testing.assert_array_equal(*returns)
    assert units[0] == units[1]


def test_more_episodes_than_one_batch():
    env = environment()
    evaluator = Evaluator(policy(env).spec, env, BATCH + 3, deterministic=False)
    played = evaluator.evaluate(policy(env).params)
    assert played.episodes == BATCH + 3
    assert len(set(played.returns.tolist())) > 1


def test_short_episodes_are_not_counted_more_often():
    for env in (Uneven(6), HostedEnvironment(Uneven(6), 4)):
        played = Evaluator(policy(env).spec, env, 64).evaluate(policy(env).params, 1)
        assert set(played.lengths.tolist()) == {1, 6}
        np.testing.assert_array_equal(played.returns, played.lengths)
        # Half of the first states lead to short ones; whoever ends first is not asked again.
        assert 16 <= (played.lengths == 6).sum() <= 48


@pytest.mark.parametrize("host", [False, True])
def test_episodes_that_do_not_end_are_cut(host: bool):
    env = make("probe/always-terminated", 2, length=1000, host=host)
    evaluator = Evaluator(policy(env).spec, env, 3, max_steps=10)
    played = evaluator.evaluate(policy(env).params)
    assert (played.cut, played.lengths.tolist(), played.mean) == (3, [10, 10, 10], 10.0)


@pytest.mark.parametrize("host", [False, True])
def test_the_first_episode_is_recorded(host: bool):
    env = make("probe/always-terminated", 2, length=6, host=host)
    recording = (
        Evaluator(policy(env).spec, env, 4, record=True).evaluate(policy(env).params).recording
    )
    assert recording is not None and recording.kind == "signals"
    np.testing.assert_allclose(recording.observations[:, 0], np.arange(7) / 6, rtol=1e-6)
    assert (recording.end, recording.episode_return, recording.episode_length) == (
        "terminated", 6.0, 6
    )  # fmt: skip
    assert recording.rewards.tolist() == [1.0] * 6 and recording.columns == ("signal",)
    assert Evaluator(policy(env).spec, env, 1).evaluate(policy(env).params).recording is None


@pytest.mark.parametrize("host", [False, True])
def test_nothing_is_recorded_where_nobody_keeps_it(host: bool):
    env = make("probe/always-terminated", 2, length=6, host=host)
    evaluator = Evaluator(policy(env).spec, env, 4, record=True)
    plain, recorded = (evaluator.evaluate(policy(env).params, record=one) for one in (False, True))
    assert plain.recording is None and recorded.recording is not None
    np.testing.assert_array_equal(plain.returns, recorded.returns)


@pytest.mark.parametrize("host", [False, True])
def test_pictures_are_not_recorded_as_numbers(host: bool, tmp_path: Path):
    env = make("probe/catch", 2, host=host, resize=(40, 40))
    config = dataclasses.replace(CONFIG, network={"kind": "cnn", "hidden": (8,)})
    spec = policy_spec(config, env.observation_space, env.action_space)
    evaluator = Evaluator(spec, env, 2, record=True)
    recording = evaluator.evaluate(ActorCritic(spec).init(0)).recording
    assert recording is not None and recording.columns == ()
    assert recording.observations.shape == (recording.episode_length + 1, 0)
    recording.save(tmp_path)
    assert Recording.load(tmp_path).observations.shape == recording.observations.shape
    assert signals_payload(recording)["series"] == []


def test_the_most_likely_actions_are_the_same_in_numpy(monkeypatch: pytest.MonkeyPatch):
    env = environment(host=True)
    evaluator = Evaluator(policy(env).spec, env, 8)
    quick = evaluator.evaluate(policy(env).params)
    monkeypatch.setattr("heredity.training.host_acting.NumpyActor.outputs", lambda *_: None)
    compiled = evaluator.evaluate(policy(env).params)
    np.testing.assert_allclose(quick.returns, compiled.returns, rtol=1e-5)


def test_what_is_not_finite_has_no_score():
    env = Faulty(Fault(2), length=4)
    played = Evaluator(policy(env).spec, env, 3).evaluate(policy(env).params)
    assert not played.is_finite and played.score() is None and np.isnan(played.mean)
    infinite = Evaluation(np.array([1.0, np.inf]), np.ones(2, np.int64), True)
    assert not infinite.is_finite and np.isnan(infinite.std) and infinite.mean == np.inf


class Growing(HostedEnvironment):
    """Gives rewards that somebody sets."""

    reward = 1.0

    def step(self, actions: np.ndarray) -> TimeStep:
        return super().step(actions)._replace(reward=np.full(self.num_envs, self.reward))


def test_an_environment_that_was_fine_once_may_have_a_return_that_is_no_number():
    env = Growing(AlwaysTerminated(3), 2)
    evaluator = Evaluator(policy(env).spec, env, 2)
    assert evaluator.evaluate(policy(env).params).mean == 3.0
    env.reward = np.inf
    assert evaluator.evaluate(policy(env).params).mean == np.inf


@pytest.mark.parametrize("seed", [-1, 2**32, 1.5, None])
def test_a_seed_has_32_bits(seed: object):
    env = environment()
    with pytest.raises(UsageError, match="seed"):
        Evaluator(policy(env).spec, env, 1).evaluate(policy(env).params, seed)


def test_the_facade_checks_what_it_is_given():
    env = environment()
    mine = policy(env)
    assert hd.evaluate_policy(mine, n_eval_episodes=3).episodes == 3
    assert hd.evaluate_policy(mine, env, 3).episodes == 3
    for episodes in (0, -1, 2.5):
        with pytest.raises(UsageError, match="episodes"):
            hd.evaluate_policy(mine, n_eval_episodes=episodes)
    with pytest.raises(MismatchError, match="actions"):
        hd.evaluate_policy(mine, "probe/continuous-action")
    nameless = Policy(dataclasses.replace(mine.spec, environment=None), mine.params)
    with pytest.raises(UsageError, match="names no environment"):
        hd.evaluate_policy(nameless)


def test_evaluating_leaves_the_weights_alone():
    env = environment()
    mine = policy(env)
    on_device = jax.tree.map(jnp.asarray, mine.params)
    Evaluator(mine.spec, env, 2).evaluate(on_device)
    assert Policy(mine.spec, on_device).policy_hash == mine.policy_hash


class Watched(HostedEnvironment):
    """Writes down its seeds, and draws what it is told to."""

    def __init__(self, picture=None) -> None:
        super().__init__(AlwaysTerminated(3), 2)
        self.seeds: list[int] = []
        self.drawn = 0
        self.picture = picture

    def reset(self, seeds: np.ndarray, mask: np.ndarray):
        self.seeds += np.asarray(seeds)[mask].tolist()
        return super().reset(seeds, mask)

    def render(self):
        self.drawn += 1
        return self.picture() if self.picture else None


@pytest.mark.parametrize("seed", [0, 7, 2**32 - 1])
def test_an_evaluation_plays_other_episodes_than_the_training(seed: int):
    trained, scored = Watched(), Watched()
    SeededEpisodes(trained, seed).start()
    Evaluator(policy(scored).spec, scored, 2).evaluate(policy(scored).params, seed)
    assert len(trained.seeds) == 2 and len(scored.seeds) >= 2
    assert not set(trained.seeds) & set(scored.seeds)


def no_library():
    raise ModuleNotFoundError("No module named 'pygame'")


@pytest.mark.parametrize(
    ("picture", "problem"),
    [(no_library, "pygame"), (lambda: np.zeros((2, 2, 7), np.uint8), "TypeError")],
)
def test_training_goes_on_when_drawing_fails(picture, problem: str, caplog):
    env = Watched(picture)
    evaluator = Evaluator(policy(env).spec, env, 2, record=True)
    with caplog.at_level(logging.WARNING, "heredity"):
        played = [evaluator.evaluate(policy(env).params) for _ in range(2)]
    assert env.drawn == 1
    for evaluation in played:
        assert evaluation.recording is not None and evaluation.recording.kind == "signals"
        assert evaluation.returns.tolist() == [3.0, 3.0]
    (told,) = [record.getMessage() for record in caplog.records]
    assert "observations only" in told and problem in told
    assert ("heredity[classic-control]" in told) == (problem == "pygame")


@pytest.mark.parametrize("host", [False, True])
@pytest.mark.parametrize(
    ("name", "most", "end"),
    [("always-terminated", None, "terminated"), ("always-truncated", None, "truncated"),
     ("always-terminated", 4, "cut")],
)  # fmt: skip
def test_how_the_recorded_episode_ended(host: bool, name: str, most: int | None, end: str):
    env = make(f"probe/{name}", 2, length=6, host=host)
    evaluator = Evaluator(policy(env).spec, env, 4, record=True, max_steps=most)
    recording = evaluator.evaluate(policy(env).params).recording
    assert recording is not None and recording.end == end
    assert recording.observations is not None
    assert len(recording.observations) == recording.episode_length + 1


def test_pictures_are_drawn_25_a_second_and_of_the_end():
    env = Watched(lambda: np.full((4, 6, 3), env.drawn, np.uint8))
    env.step_seconds = 0.02
    played = Evaluator(policy(env).spec, env, 2, record=True).evaluate(policy(env).params)
    assert played.recording is not None
    assert played.recording.frame_steps == (0, 2, 3) and env.drawn == 3
    slow = Watched(lambda: np.full((4, 6, 3), slow.drawn, np.uint8))
    slow.step_seconds = 10.0
    played = Evaluator(policy(slow).spec, slow, 2, record=True).evaluate(policy(slow).params)
    assert played.recording is not None
    assert played.recording.frame_steps == (0, 1, 2)  # the first 20 s
