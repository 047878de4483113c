"""Save and render intermediate policies while they train (google/brax#550)."""

from pathlib import Path

import heredity as hd

RUN = Path("runs/watch_it_grow")


def watch(event) -> bool:
    """Step, weights and score arrive together, in the callback as on disk."""
    print(f"step {event.step:>9,}: return {event.evaluation.mean:8.1f}", event.policy.policy_hash[:12])
    event.policy.save_pretrained(RUN / "mine" / str(event.step))
    # The rollout of this very policy is on disk too, rendered by the report below.
    return event.evaluation.mean < 6_000  # False ends the run


def main(total_timesteps: float = 2e6) -> None:
    ant = hd.make("brax/ant", num_envs=256, backend="positional")
    model = hd.PPO(ant, seed=0)
    model.learn(
        total_timesteps,
        callback=watch,
        directory=RUN / "run",
        snapshot_every=total_timesteps / 10,
    )
    policy = hd.Policy.from_pretrained(RUN / "run" / "checkpoints" / "best" / "policy")
    print("best:", hd.evaluate_policy(policy, ant, n_eval_episodes=10).mean)
    print("watch it grow:", hd.write_report(RUN / "run"))


if __name__ == "__main__":
    main()
