"""The command that goes on with a run, with the options that its folder does not remember."""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence
from pathlib import Path

from heredity.cli.launching import only

# Who starts the processes, and where metrics go: not written into the folder.
_NOT_RECORDED = ("--launcher", "--ray.", "--distributed.", "--wandb")

# How a processor is divided into devices.
_DIVIDED = "JAX_NUM_CPU_DEVICES"


def untrusted(environment_id: str | None, networks: Sequence[str] = ()) -> list[str]:
    """What a person named on the command line, and has to vouch for when a file names it.

    Args:
        environment_id: Of the environment, if one was named.
        networks: Of a person's own.

    Example:
        >>> untrusted("gymnax/CartPole-v1"), untrusted("my_envs:maze", ["my_networks:Residual"])
        ([], ['my_envs:maze', 'my_networks:Residual'])
    """
    found: list[str] = []
    if environment_id is not None:
        from heredity.environments import distrust

        found = [environment_id] if distrust(environment_id) else []
    return [*found, *networks]


def resume_command(directory: Path, words: Sequence[str], trust: Sequence[str]) -> str:
    """What a person types to go on with a run that is interrupted.

    Args:
        directory: Of the run.
        words: Of the command line that it goes on with now.
        trust: What the person vouches for.

    Example:
        >>> resume_command(Path("runs/a"), ["--seed", "3", "--launcher=ray", "--ray.gpus", "1"], [])
        'heredity resume runs/a --launcher=ray --ray.gpus 1'
    """
    divided = os.environ.get(_DIVIDED, "1")
    before = f"{_DIVIDED}={shlex.quote(divided)} " if divided != "1" else ""
    trusted = ["--trust", *dict.fromkeys(trust)] if trust else []
    kept = only(words, *_NOT_RECORDED)
    return before + shlex.join(["heredity", "resume", str(directory), *trusted, *kept])
