"""Save and render intermediate policies while they train (google/brax#550)."""

from pathlib import Path

import heredity as hd

RUN = Path("runs/watch_it_grow")


def watch(event) -> bool:
    """Step, weights, score and rollout arrive together, in the callback as on disk."""
    print(f"step {event.step:,}: return {event.evaluation.mean:.1f}", event.policy.policy_hash)
    event.policy.save_pretrained(RUN / "mine" / f"{event.step}")
    hd.write_rollout(event.evaluation.recording, RUN / "mine" / f"{event.step}.html")
    return event.evaluation.mean < 6_000  # False ends the run


def main(total_timesteps: float = 2e6, **settings) -> None:
    ant = hd.make("brax/ant", num_envs=settings.get("num_envs", 256), backend="positional")
    model = hd.PPO(ant, seed=0, **settings)
    every = total_timesteps / 10
    model.learn(total_timesteps, watch, directory=RUN / "run", snapshot_every=every)
    policy = hd.Policy.from_pretrained(RUN / "run" / "checkpoints" / "best" / "policy")
    print(f"best: {hd.evaluate_policy(policy, ant, n_eval_episodes=10).mean:.1f}")
    print("watch it grow:", hd.write_report(RUN / "run"))


if __name__ == "__main__":
    main()
