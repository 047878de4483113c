"""Scripts are run in processes of their own, for a limited time; what they print last is JSON."""

from __future__ import annotations

import json
import os
import platform
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent


def peers_python() -> str:
    """The Python that has the peers: `HEREDITY_PEERS`, else that of ``make peers``; "" for none.

    An empty `HEREDITY_PEERS` means none as well.
    """
    if (named := os.environ.get("HEREDITY_PEERS")) is not None:
        return named
    # The stamp is made last: an installation that broke off is none.
    there = (ROOT / ".peers" / ".installed").exists()
    return str(ROOT / ".peers" / "bin" / "python") if there else ""


PEERS = peers_python()
# The official DreamerV3 is no package: where it was checked out, and a Python with its libraries.
DREAMERV3 = os.environ.get("HEREDITY_DREAMERV3", "")
DREAMERV3_PYTHON = os.environ.get("HEREDITY_DREAMERV3_PYTHON", "")
# Scripts that run in the peers' environment.
_OF_PEERS = ("ppo_brax", "ppo_rejax", "ppo_purejax", "ppo_sb3", "predict_sb3", "vit_load_torch")
_LAST_LINES = 15  # of what a script complained of


class Failed(Exception):
    """A script that ended badly, or not in time; the text says how."""


def machine() -> dict[str, Any]:
    """What the numbers are measured on, and how much else was running there."""
    model = platform.processor()
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    return {
        "processor": model,
        "cores": os.cpu_count(),
        "system": platform.system(),
        "load_before": os.getloadavg()[0],
    }


def script(words: str, *arguments: str) -> list[str]:
    """The command that runs a script of this folder in the environment it needs."""
    name, *options = words.split()
    python = PEERS if name.startswith(_OF_PEERS) else sys.executable
    return [python, str(HERE / name), *options, *arguments]


def output(
    command: Sequence[str], limit: float, environment: Mapping[str, str] | None = None
) -> str:
    """What a program prints. Nothing that JAX compiled is kept between programs.

    Args:
        command: To run.
        limit: Seconds until it is ended, with all processes that it started.
        environment: Variables beside those of this process.

    Raises:
        Failed: when it does not start, ends badly, or takes too long.
    """
    alone = {"JAX_PLATFORMS": "cpu", "HEREDITY_COMPILATION_CACHE": "off", **(environment or {})}
    with tempfile.TemporaryFile("w+") as complaints:
        try:
            process = subprocess.Popen(
                command,
                stdout=subprocess.PIPE,
                stderr=complaints,
                text=True,
                env={**os.environ, **alone},
                start_new_session=True,
            )
        except OSError as error:
            raise Failed(f"{command[0]} does not start: {error}") from error
        how = None
        with process:  # closes the pipe and waits
            try:
                printed, _ = process.communicate(timeout=limit)
                if process.returncode:
                    how = f"ended with code {process.returncode}"
            except subprocess.TimeoutExpired:
                printed, how = "", f"was ended after {limit:.0f} s"
            finally:
                if process.poll() is None:  # too late, or Ctrl-C
                    os.killpg(process.pid, signal.SIGKILL)
        if how is None:
            return printed
        complaints.seek(0)
        said = complaints.read().strip().splitlines()[-_LAST_LINES:]
    raise Failed("\n".join([f"{' '.join(command[1:])} {how}", *said]))


def called(
    command: Sequence[str], limit: float, environment: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """What a script prints as its last line, as JSON; see `output`.

    Raises:
        Failed: as `output`, and when it is no JSON.
    """
    printed = output(command, limit, environment)
    try:
        return json.loads(printed.strip().splitlines()[-1])
    except (IndexError, json.JSONDecodeError) as error:
        what = f"printed no JSON as its last line, but {printed[-200:]!r}"
        raise Failed(f"{' '.join(command[1:])} {what}") from error
