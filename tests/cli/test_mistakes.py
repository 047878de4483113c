"""Every mistake is answered in one voice: one line, what was given, what is possible."""

import dataclasses
import re
from typing import Any

import pytest

from heredity.cli import mistakes
from heredity.cli.main import run_command
from heredity.cli.mistakes import known_options, nearest
from heredity.cli.parsing import parse
from heredity.common.errors import UsageError

PROBE = "--env probe/constant-reward"
STEPS = "--total-timesteps 64"
TRAIN = f"train ppo {PROBE} {STEPS}"
OF_THE_PROBE = (
    "--env.action-repeat, --env.frame-stack, --env.grayscale, --env.host, --env.length, "
    "--env.max-episode-steps, --env.resize, --env.reward-clip, --env.reward-scale"
)
ALL_OF_TRAIN = "(heredity train ppo --help lists all options)"
OF_EVALUATE = "(known: --env, --episodes, --json, --seed, --stochastic, --trust)"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        # Options: the nearest match, and what is possible.
        (
            f"train ppo {PROBE} --total-timestep 1000 --directory D",
            f"unknown option '--total-timestep': did you mean '--total-timesteps'? {ALL_OF_TRAIN}",
        ),
        (
            f"{TRAIN} --learnig-rate 3",
            f"unknown option '--learnig-rate': did you mean '--learning-rate'? {ALL_OF_TRAIN}",
        ),
        (
            f"{TRAIN} --learnig_rate=3",
            f"unknown option '--learnig_rate': did you mean '--learning-rate'? {ALL_OF_TRAIN}",
        ),
        (
            f"{TRAIN} --env.lenght 3",
            "unknown option of probe/constant-reward '--env.lenght': did you mean '--env.length'? "
            f"(known: {OF_THE_PROBE})",
        ),
        (
            f"{TRAIN} --env.backend spring",
            f"unknown option of probe/constant-reward '--env.backend' (known: {OF_THE_PROBE})",
        ),
        (
            f"train ppo {STEPS} --env.backend spring",
            "unknown option '--env.backend': --env has to name the environment that it belongs to",
        ),
        (
            f"{TRAIN} --length 3",
            f"unknown option '--length': did you mean '--env.length'? {ALL_OF_TRAIN}",
        ),
        (
            f"train ppo --evn brax/ant {STEPS}",
            f"unknown option '--evn': did you mean '--env'? {ALL_OF_TRAIN}",
        ),
        (
            f"{TRAIN} --keep 3",
            "unknown option '--keep': did you mean '--keep-last' or '--keep-every' or "
            f"'--keep-snapshots'? {ALL_OF_TRAIN}",
        ),
        (
            f"{TRAIN} --no-progres",
            f"unknown option '--no-progres': did you mean '--no-progress'? {ALL_OF_TRAIN}",
        ),
        (f"{TRAIN} -seed 3", f"unknown option '-seed': did you mean '--seed'? {ALL_OF_TRAIN}"),
        (f"{TRAIN} -x", f"unknown option '-x' {ALL_OF_TRAIN}"),
        (f"{TRAIN} seed=3", f"unexpected 'seed=3': did you mean '--seed'? {ALL_OF_TRAIN}"),
        (f"{TRAIN} extra", f"unexpected 'extra' {ALL_OF_TRAIN}"),
        (
            "evaluate X --episode 3",
            f"unknown option '--episode': did you mean '--episodes'? {OF_EVALUATE}",
        ),
        (
            "evaluate --episode 3",
            f"unknown option '--episode': did you mean '--episodes'? {OF_EVALUATE}",
        ),
        (
            "resume X --max-rollback 3",
            "unknown option '--max-rollback': did you mean '--max-rollbacks'? "
            "(heredity resume --help lists all options)",
        ),
        (
            "train dreamer --steps 9",
            "unknown option '--steps': give total_timesteps to learn() (--total-timesteps) "
            "(heredity train dreamer --help lists all options)",
        ),
        ("resume X Y", "unexpected 'Y' (heredity resume --help lists all options)"),
        ("inspect X --jsn", "unknown option '--jsn': did you mean '--json'? (known: --json)"),
        ("inspect X --env.foo 3", "unknown option '--env.foo' (known: --json)"),
        (
            "lineage X --verfy",
            "unknown option '--verfy': did you mean '--verify'? "
            "(known: --json, --search, --verify)",
        ),
        (
            "view X --prot 80",
            "unknown option '--prot': did you mean '--port'? "
            "(known: --browser, --host, --output, --port, --report)",
        ),
        ("envs --jsn", "unknown option '--jsn': did you mean '--json'? (known: --json)"),
        ("envs brax ant", "unexpected 'ant' (known: --json)"),
        (
            "envs brax/antt",
            "unknown environment 'brax/antt': did you mean 'brax/ant' or 'brax/fast' or "
            "'brax/humanoid'? heredity envs lists all",
        ),
        # What a run keeps for good.
        ("resume X --seed 3", "--seed cannot be changed by a resume: it stays as it was"),
        (
            "resume X --learning_rate 3",
            "--learning_rate cannot be changed by a resume: it stays as it was",
        ),
        # Values.
        (
            f"{TRAIN} --seed abc",
            "--seed 'abc': a whole number such as 5000000, 5_000_000 or 5e6 was expected",
        ),
        (
            f"{TRAIN} --learning-rate fast",
            "--learning-rate 'fast': a number such as 0.0003 or 3e-4 was expected",
        ),
        (
            f"{TRAIN} --clip-range-value x",
            "--clip-range-value 'x': a number such as 0.0003 or 3e-4 was expected",
        ),
        (
            f"{TRAIN} --env.length x",
            "--env.length 'x': a whole number such as 5000000, 5_000_000 or 5e6 was expected",
        ),
        (
            "view X --port http",
            "--port 'http': a whole number such as 5000000, 5_000_000 or 5e6 was expected",
        ),
        (
            f"{TRAIN} --on-divergence rollbak",
            "unknown --on-divergence 'rollbak': did you mean 'rollback'? (known: rollback, stop)",
        ),
        (
            f"train ppo {STEPS} --env gym/CartPole-v1 --env.vectorization asyn",
            "unknown --env.vectorization 'asyn': did you mean 'async' or 'sync'? "
            "(known: async, sync)",
        ),
        (
            f"{TRAIN} --normalize-rewards yes",
            "--normalize-rewards takes no value, 'yes' was given: "
            "--normalize-rewards or --no-normalize-rewards",
        ),
        (
            f"{TRAIN} --env.no-host=1",
            "--env.no-host takes no value, '1' was given: --env.host or --env.no-host",
        ),
        (
            "inspect X --json --jsn",
            "unknown option '--jsn': did you mean '--json'? (known: --json)",
        ),
        ("inspect X --json yes", "--json takes no value, 'yes' was given: --json or --no-json"),
        # What the settings themselves refuse.
        (f"{TRAIN} --seed -1", "seed -1: a whole number >= 0 was expected"),
        (f"{TRAIN} --discount 2", "discount 2.0: a finite number >= 0 and <= 1 was expected"),
        (f"{TRAIN} --env.length 0", "length=0: a whole number >= 1 was expected"),
        # What is missing.
        (
            f"train ppo {PROBE}",
            "--total-timesteps INT is needed (heredity train ppo --help tells more)",
        ),
        (
            f"train ppo {PROBE} --total-timesteps",
            "--total-timesteps needs a value: --total-timesteps INT",
        ),
        (f"{TRAIN} --directory", "--directory needs a value: --directory PATH"),
        (f"{TRAIN} --wandb --seed 3", "--wandb needs a value: --wandb PROJECT"),
        ("evaluate X --env", "--env needs a value: --env ID"),
        *(
            (command, f"PATH is needed (heredity {command} --help tells more)")
            for command in ("resume", "evaluate", "inspect", "lineage", "view")
        ),
        ("inspect --", "PATH is needed (heredity inspect --help tells more)"),
        ("inspect --json", "PATH is needed (heredity inspect --help tells more)"),
        # Commands.
        ("train pppo", "unknown algorithm 'pppo': did you mean 'ppo'? (known: dreamer, ppo)"),
        ("train --env x", "the algorithm comes first: heredity train ppo --env ID"),
    ],
    ids=lambda value: value if " " not in value or value.startswith(("train", "r")) else "",
)
def test_a_mistake_is_answered_in_one_line(heredity, words: str, told: str):
    done = heredity(*words.split())
    assert done == type(done)(2, "", f"heredity: {told}\n")


@pytest.mark.parametrize(
    "words",
    [
        "train ppo --env probe/constant-reward",
        "train ppo --env gym/CartPole-v1",
        "train ppo",
        "resume",
        "resume --env probe/constant-reward",
        "evaluate --env probe/constant-reward",
        "inspect",
        "lineage",
        "view",
        "envs",
    ],
)
def test_the_options_that_are_known_are_those_of_help(
    heredity, monkeypatch: pytest.MonkeyPatch, words: str
):
    """tyro names the options; what is offered has to be what it takes."""
    asked: list[mistakes.CommandLine] = []

    def recorded(*given: Any) -> mistakes.CommandLine:
        asked.append(mistakes.CommandLine(*given))
        return asked[-1]

    monkeypatch.setattr("heredity.cli.parsing.CommandLine", recorded)
    done = heredity(*words.split(), "--help")
    assert done.code == 0
    shown = re.findall(r"^│ (--\S+?)(?:, (--\S+))?(?: .*)?│$", done.out, re.MULTILINE)
    (line,) = asked
    assert set(known_options(line.kind)) == {name for pair in shown for name in pair if name}
    assert line.program.split() == ["heredity", *words.split(" --")[0].split()]


@dataclasses.dataclass(frozen=True)
class Demo:
    """Two settings.

    Args:
        rate: One.
        fast: Other.
    """

    rate: float = 0.5
    fast: bool = False


@pytest.mark.parametrize("hooks", ["tyro._gone", "tyro.conf"], ids=["gone", "changed"])
def test_without_the_hook_of_tyro_mistakes_are_its_own_business(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, hooks: str
):
    with pytest.raises(UsageError, match="did you mean '--rate'"):
        parse(Demo, ["--rat", "3"], "demo")
    monkeypatch.setattr(mistakes, "_HOOKS", hooks)
    with pytest.raises(SystemExit) as left:
        parse(Demo, ["--rat", "3"], "demo")
    assert left.value.code == 2
    out, err = capsys.readouterr()
    assert out == "" and "--rat" in err
    assert parse(Demo, ["--rate", "3", "--fast"], "demo") == Demo(3.0, True)


@pytest.mark.parametrize(
    ("given", "near"),
    [
        ("--rate", ["--rate"]),
        ("--rat", ["--rate", "--rates"]),
        ("--r", []),
        ("-fsat", ["--fast"]),
        ("--no-fast", ["--no-fast"]),
        ("--colour", []),
        ("--", []),
    ],
)
def test_nearest(given: str, near: list[str]):
    assert nearest(given, dict.fromkeys(("--rate", "--rates", "--fast", "--no-fast"))) == near


def test_options_as_others_call_them():
    with pytest.raises(UsageError, match="unknown option '--gamma': did you mean '--discount'"):
        run_command(["train", "ppo", "--env", "probe/constant-reward", "--gamma", "0.9"])


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("--env os:system", "--env.command STR is needed"),
        ("--env :", "environment ':': package.module:factory was expected"),
        ("--env ..:x", "environment '..:x': package.module:factory was expected"),
        ("--env gym/foo$bar", "gym/foo$bar cannot be made here: Malformed"),
        (f"{PROBE} --directory=", "--directory '': a path was expected; the current folder is ."),
        (f"{PROBE} --num-envs {10**20}", "below 2**31 was expected"),
        ("--env gymnax/CartPole-v1 --env.max-episode-steps 3e9", "below 2**31 was expected"),
    ],
)
def test_strange_values_are_refused_before_anything_is_made(words: str, told: str):
    with pytest.raises(UsageError) as refused:
        run_command(["train", "ppo", *words.split(), *STEPS.split()])
    assert told in str(refused.value)
