"""The main job in one go: train, be interrupted, resume bit for bit, look at how it grew.

Run with ``make demo``. Everything lands in ``runs/demo``.
"""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

RUN = Path("runs/demo")
ENVIRONMENT = ["--env", "brax/inverted_pendulum", "--env.backend", "positional"]
STEPS, SNAPSHOTS = 80_000, 16
INTERRUPT_AFTER = 6  # snapshots


def heredity(*words: object) -> list[str]:
    return [sys.executable, "-m", "heredity", *map(str, words)]


def say(line: str) -> None:
    """A heading; bold where a person looks."""
    bold = "\033[1m{}\033[0m" if sys.stdout.isatty() else "{}"
    print(f"\n{bold.format(line)}", flush=True)


def show(*words: object) -> None:
    say("$ heredity " + " ".join(map(str, words)))
    subprocess.run(heredity(*words), check=True)


def snapshots() -> int:
    return len(list((RUN / "snapshots").glob("[0-9]*")))


def main() -> None:
    began = time.monotonic()
    shutil.rmtree(RUN, ignore_errors=True)
    train = [
        *("train", "ppo", *ENVIRONMENT, "--directory", RUN, "--seed", 3),
        *("--total-timesteps", STEPS, "--snapshot-every", STEPS // SNAPSHOTS),
    ]
    say("$ heredity " + " ".join(map(str, train)))
    process = subprocess.Popen(heredity(*train), start_new_session=True)
    while process.poll() is None and snapshots() < INTERRUPT_AFTER:
        time.sleep(0.02)
    if process.poll() is None:
        say("Interrupting it, as ctrl-C would.")
        process.send_signal(signal.SIGINT)
    code = process.wait()
    if code not in (0, 130):
        sys.exit(f"training ended with exit code {code}")
    if code == 130:
        show("resume", RUN)
    show("lineage", RUN / "checkpoints" / "last", "--verify")
    show("evaluate", RUN, "--episodes", 20)
    say(f"Done in {time.monotonic() - began:.0f} s. Look at:")
    print(f"  {RUN}/report.html     open it in a browser, press Watch it learn:")
    print("                            the pole tips after a second at first, and stands at last")
    print(f"  heredity view {RUN}   the same, live")
    print(f"  {RUN}/checkpoints/best/policy   the policy, ready to be handed on")


if __name__ == "__main__":
    main()
