"""Running, evaluating, recording, checkpoints, snapshots, metrics, callbacks."""
