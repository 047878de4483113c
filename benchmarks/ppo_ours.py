"""Our PPO on any of the problems, through the public interface alone; prints JSON."""

import measure  # isort: skip  # first: the clock sees the imports

import jax
import numpy as np

import heredity as hd

problem, seed = measure.chosen()
clock = measure.Clock()
settings = problem.settings
adapter, _, name = problem.environment.partition("/")


def player(policy):
    """The evaluator that the peers have: from weights and a seed to returns."""

    def mode(params, seen):
        return policy.act(params, seen, deterministic=True)[0]

    if adapter == "brax":
        from brax import envs

        from brax_play import player

        return player(envs.get_environment(name, **problem.options), problem.episodes, mode)
    if adapter == "gymnax":
        from gymnax_play import environment_of, player

        return player(*environment_of(problem), problem.episodes, mode)
    import gym_play

    compiled = jax.jit(mode)
    return lambda params, seed: gym_play.returns(
        name, problem.episodes, seed, lambda seen: compiled(params, seen)
    )


class Watch(hd.callbacks.Callback):
    def on_training_start(self, step, total_timesteps):
        clock.learning()


environment = hd.make(problem.environment, settings["num_envs"], **problem.options)
model = hd.PPO(environment, seed=seed, preset="none", **settings)
events = model.run(
    problem.chunk * problem.chunks,
    callback=Watch(),
    evaluate_every=problem.chunk,
    evaluation_episodes=0,
    seeds=problem.seeds or 1,
)
play, returns = None, []
for event in events:
    # One event for each seed; they tell of the same moment.
    agent = event.seed - seed
    if agent == 0:
        clock.mark(event.step * event.seeds)
    with clock.stopped():
        if agent < measure.EVALUATED_AGENTS:
            play = play or player(event.policy)
            returns.append(play(event.policy.params, seed + 1000 + agent))
        if agent == event.seeds - 1:
            of_all = np.concatenate(returns)
            clock.scored(of_all.mean(), of_all.std())
            returns = []
clock.report(problem, f"heredity {hd.__version__}", measure.packages_of(problem), [])
