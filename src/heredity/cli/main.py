"""The command ``heredity``: finds the verb, runs it, and turns errors into exit codes.

Exit codes: 0 done, 1 failed (diverged, disk full), 2 wrong use, 3 input refused, 4 another process
of the run was lost, 130 interrupted.
"""

from __future__ import annotations

import importlib
import io
import logging
import os
import shutil
import sys
from collections.abc import Sequence

from heredity.cli import output
from heredity.common.errors import HeredityError, UnknownNameError
from heredity.common.interruption import remember_interrupts
from heredity.common.kept_memory import keep_memory
from heredity.training.compilation import keep_compiled

# Verb, module, and the line of `heredity --help`.
COMMANDS = {
    "train": ("heredity.cli.train", "train a policy: heredity train ppo --env ID --directory D"),
    "resume": ("heredity.cli.resume", "continue a run, bit for bit"),
    "evaluate": ("heredity.cli.evaluate", "play episodes with a policy and print the return"),
    "inspect": ("heredity.cli.inspect", "what a policy, checkpoint or run is; runs nothing"),
    "lineage": ("heredity.cli.lineage", "where a policy's weights come from"),
    "diff": ("heredity.cli.diff", "what two policies have in common, in weights and in actions"),
    "import": ("heredity.cli.importing", "a policy from a file of another library; runs nothing"),
    "transfer": ("heredity.cli.transfer", "move a policy to other sensors, actions or widths"),
    "view": ("heredity.cli.view", "watch how a policy grew: live, or as one HTML file"),
    "imagine": ("heredity.cli.imagine", "what a world model expects to see, beside what happened"),
    "envs": ("heredity.cli.envs", "which environments are available, and what others need"),
}

# Commands that compile programs, and keep them for the next time.
COMPILING = ("train", "resume", "evaluate", "diff", "transfer", "imagine")
# Commands that do the same over and over, and need the same memory each time.
REPEATING = ("train", "resume")

NARROWEST = 40  # columns that help and tables are laid out for, at least

USAGE = """usage: heredity COMMAND [OPTIONS]      (heredity COMMAND --help lists the options)
       heredity --version

Reinforcement learning where weights are handed down.

{commands}

for example:
  heredity train ppo --env gymnax/CartPole-v1 --total-timesteps 5e5 --directory runs/cartpole
  heredity resume runs/cartpole
  heredity evaluate runs/cartpole --episodes 100
  heredity view runs/cartpole

exit codes: 0 done, 1 failed, 2 wrong use, 3 input refused,
            4 another process of the run was lost, 130 interrupted
"""


def usage() -> str:
    """The text of ``heredity --help``."""
    width = max(len(name) for name in COMMANDS)
    return USAGE.format(
        commands="\n".join(f"  {name:<{width}}  {line}" for name, (_, line) in COMMANDS.items())
    )


def run_command(arguments: Sequence[str]) -> int:
    """Run one command.

    Args:
        arguments: As they stand after ``heredity``.

    Returns:
        The exit code.

    Raises:
        HeredityError: what the command could not do.
    """
    if not arguments or arguments[0] in ("-h", "--help"):
        print(usage())
        return 0 if arguments else 2
    if arguments[0] in ("--version", "-V"):
        from heredity import __version__

        print(f"heredity {__version__}")
        return 0
    name, *rest = arguments
    if name not in COMMANDS:
        raise UnknownNameError("command", name, COMMANDS, "see heredity --help")
    if name in COMPILING:
        keep_compiled()  # before the command imports JAX
    if name in REPEATING:
        keep_memory()  # before there are threads
    module = importlib.import_module(COMMANDS[name][0])
    return module.main(rest)


def _prepare() -> None:
    """Settings of the process that a library has no right to make, but a command has."""
    _see_to_streams()
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    logging.getLogger("heredity").setLevel(logging.INFO)
    if shutil.get_terminal_size().columns < NARROWEST:
        # What lays out help and tables never ends where a word does not fit into a line.
        os.environ["COLUMNS"] = str(NARROWEST)
    # pygame opens a sound device when it is imported, and complains where there is none.
    os.environ.setdefault("SDL_AUDIODRIVER", "dummy")
    os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")
    # SIGTERM as ctrl-C, also before and after a run, which takes both signals for itself; and
    # before JAX is imported, in whose callbacks a KeyboardInterrupt would be lost.
    remember_interrupts()


def _see_to_streams() -> None:
    """Nobody may be listening, or in an encoding that lacks a sign: neither costs the result."""
    # Python has None for a stream that was closed before it started.
    sys.stdout = sys.stdout or open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
    sys.stderr = sys.stderr or open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point: run a command and answer with its exit code."""
    _prepare()
    try:
        with output.told_when_closed():
            return run_command(sys.argv[1:] if arguments is None else arguments)
    except HeredityError as error:
        print(f"heredity: {error}", file=sys.stderr)
        return error.exit_code
    except output.OutputClosedError:
        # Whoever read our output has seen enough; Python would complain again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        print(f"heredity: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt as interruption:
        told = str(interruption) or "interrupted"
        print(f"heredity: {told}", file=sys.stderr)
        return 130
