"""Our PPO on any of the problems, through the public interface alone; prints JSON."""

import measure  # isort: skip  # first: the clock sees the imports

import heredity as hd

problem, seed = measure.chosen()
clock = measure.Clock()


class Watch(hd.callbacks.Callback):
    """Knows when the last iteration before an evaluation ended."""

    def on_training_start(self, step, total_timesteps):
        clock.learning()

    def on_progress(self, step, row):
        clock.pause()


settings = problem.settings
environment = hd.make(problem.environment, settings["num_envs"], **problem.options)
model = hd.PPO(environment, seed=seed, preset="none", **settings)
events = model.run(
    problem.chunk * problem.chunks,
    callback=Watch(),
    evaluate_every=problem.chunk,
    evaluation_episodes=problem.episodes,
    seeds=problem.seeds or 1,
)
for event in events:
    if event.seed != seed:
        continue  # of several seeds, peers evaluate the first one as well
    # Nothing but evaluating was done since the last iteration.
    clock.resume()
    clock.mark(event.step * event.seeds, clock.paused_at)
    clock.scored(event.evaluation.mean, event.evaluation.std)
clock.report(problem, f"heredity {hd.__version__}", measure.packages_of(problem), [])
