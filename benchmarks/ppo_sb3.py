"""Stable-Baselines3's PPO, or SBX's with ``--sbx``, on a Gymnasium environment; prints JSON."""

import measure  # isort: skip  # first: the clock sees the imports

import importlib.metadata
import sys

import torch
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.env_util import make_vec_env

import gym_play

sbx = "--sbx" in sys.argv
if sbx:
    sys.argv.remove("--sbx")
    import flax.linen
    from sbx import PPO
else:
    from stable_baselines3 import PPO

problem, seed = measure.chosen()
torch.set_num_threads(1)  # what suits small networks best
clock = measure.Clock()
settings = problem.settings
network = settings["network"]
name = problem.environment.removeprefix("gym/")
environment = make_vec_env(name, settings["num_envs"], seed=seed)  # a DummyVecEnv, as by default
activations = flax.linen if sbx else torch.nn
activation = network["activation"] if sbx else network["activation"].title()


class Watch(BaseCallback):
    """After each chunk, at the end of an update: mark and evaluate."""

    def _on_rollout_start(self):
        # The update of what was collected until now is over.
        if self.num_timesteps >= len(clock.marks) * problem.chunk + problem.chunk:
            self.look()

    def _on_step(self):
        return True

    def look(self):
        clock.mark(self.num_timesteps)
        with clock.stopped():
            returns = gym_play.returns(
                name,
                problem.episodes,
                seed + 1000,
                lambda seen: self.model.predict(seen, deterministic=True)[0],
            )
            clock.scored(returns.mean(), returns.std())


model = PPO(
    "MlpPolicy",
    environment,
    seed=seed,
    device="cpu",
    n_steps=settings["num_steps"],
    batch_size=problem.minibatch_size,
    n_epochs=settings["num_epochs"],
    learning_rate=settings["learning_rate"],
    gamma=settings["discount"],
    gae_lambda=settings["gae_lambda"],
    clip_range=settings["clip_range"],
    ent_coef=settings["entropy_coefficient"],
    vf_coef=settings["value_coefficient"],
    max_grad_norm=settings["max_grad_norm"],
    policy_kwargs={
        "net_arch": {
            "pi": list(network["hidden"]),
            "vf": list(network["critic_hidden"]),
        },
        "activation_fn": getattr(activations, activation),
    },
)
clock.learning()
watch = Watch()
model.learn(problem.chunk * problem.chunks, callback=watch)
watch.look()
differences = [
    "torch runs on one thread, which suits it best here",
    "the time limit and the statistics of episodes are counted by wrappers (Monitor, TimeLimit)",
]
if sbx:
    differences += [
        "actor and critic have an optimiser each (ours: one)",
        "advantages are normalised by the deviation with n (ours: n - 1)",
        "orthogonal initialisation is off, its default (ours: on)",
    ]
packages = ["stable_baselines3", "torch", *measure.packages_of(problem)]
packages = [name for name in packages if sbx or name not in ("jax", "jaxlib", "flax", "optax")]
name = "sbx-rl" if sbx else "stable-baselines3"
library = f"{'SBX' if sbx else name} {importlib.metadata.version(name)}"
clock.report(problem, library, [*packages, *(["sbx-rl"] if sbx else [])], differences)
