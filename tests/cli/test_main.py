import os
import signal
import subprocess
import sys

import pytest

from heredity import __version__
from heredity.cli import main as main_module
from heredity.cli.main import COMMANDS

FLAGS = {
    "train": ("ppo", "--env", "--total-timesteps", "--snapshot-every", "--learning-rate",
              "--directory", "--preset", "--on-divergence", "--freeze", "--wandb", "--seed"),
    "resume": ("--total-timesteps", "--checkpoint-every", "--keep-snapshots", "--max-rollbacks",
               "--env", "--trust"),
    "evaluate": ("--episodes", "--env", "--json", "--stochastic", "--seed", "--trust"),
    "inspect": ("--json",),
    "lineage": ("--verify", "--json"),
    "import": ("--format", "--out", "--normalizer", "--env", "--json"),
    "diff": ("--observations", "--json"),
    "transfer": ("--add-sensor", "--drop", "--rename", "--hidden", "--env", "--out", "--dry-run"),
    "view": ("--report", "--port", "--host"),
    "imagine": ("--out", "--context", "--steps", "--seed", "--env", "--json"),
    "envs": ("--json",),
}  # fmt: skip


@pytest.mark.parametrize("flag", ["--help", "-h"])
@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_every_command(heredity, command: str, flag: str):
    words = [command, "ppo"] if command == "train" else [command]
    done = heredity(*words, flag)
    assert done.code == 0
    for told in FLAGS[command]:
        assert told in done.out, told
    assert done.err == ""


def test_help_groups_are_named_for_what_they_hold(heredity):
    out = heredity("train", "ppo", "--help").out
    for group in ("run options", "output options", "ppo options"):
        assert f"─ {group} ─" in out
    assert "heredity train ppo --env brax/ant --help" in out


@pytest.mark.parametrize("columns", [80, 100])
@pytest.mark.parametrize(
    "words", [(name, "ppo") if name == "train" else (name,) for name in COMMANDS], ids=" ".join
)
def test_help_reads_well(heredity, monkeypatch: pytest.MonkeyPatch, words: tuple, columns: int):
    monkeypatch.setenv("COLUMNS", str(columns))
    for more in ((), ("--env", "brax/ant")) if words[0] in ("train", "resume") else ((),):
        out = heredity(*words, *more, "--help").out
        # None, unions and empty defaults are Python's, not a stranger's; ` is a document's.
        for odd in ("None}", "{None", "(default: )", "(default: None)", "``", "|STR", "Of the run"):
            assert odd not in out, odd
        assert max(map(len, out.splitlines())) <= columns


def test_help_says_what_leaving_an_option_out_means(heredity, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("COLUMNS", "120")  # on wider ones the groups stand side by side
    train, resume = (
        " ".join(heredity(*words, "--help").out.replace("│", " ").split())
        for words in (("train", "ppo"), ("resume",))
    )
    for told in (
        "--total-timesteps INT Where the run ends; rounded up to a whole iteration. (required)",
        "--directory PATH Where everything is written. (default: a new folder such as "
        "runs/gymnax-CartPole-v1)",
        "--network.convolutions [STR ...] Each as features x kernel / stride",
    ):
        assert told in train
    assert "for no limit. (default: none)" in train and "if not given. (optional)" in train
    assert "--keep-last INT" in resume and "if not given. (default: as it was)" in resume


def test_help_of_an_environment_has_its_options(heredity):
    done = heredity("train", "ppo", "--env", "probe/two-step-discount", "--help")
    assert done.code == 0
    assert "--env.length" in done.out and "--env.host" in done.out


def test_the_overview(heredity):
    for words, code in (
        ([], 2),
        (["--help"], 0),
        (["-h"], 0),
        (["train"], 2),
        (["train", "-h"], 0),
    ):
        done = heredity(*words)
        assert done.code == code
        assert "usage: heredity" in done.out
    assert all(name in heredity("--help").out for name in COMMANDS)
    assert heredity("--version").out == f"heredity {__version__}\n"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["trian"], "unknown command 'trian': did you mean 'train'"),
        (["--json"], "unknown command '--json'"),
        (["train", "pp0"], "unknown algorithm 'pp0'"),
    ],
)
def test_unknown_names_offer_the_nearest(heredity, words: list[str], told: str):
    done = heredity(*words)
    assert done.code == 2 and told in done.err and done.out == ""


@pytest.mark.parametrize(
    ("error", "code", "told"),
    [
        (KeyboardInterrupt(), 130, "interrupted"),
        (OSError(36, "File name too long", "aaa"), 1, "File name too long"),
        (PermissionError(13, "Permission denied", "here"), 1, "Permission denied: 'here'"),
    ],
)
def test_what_the_system_says_is_told_without_a_traceback(
    heredity, monkeypatch: pytest.MonkeyPatch, error: BaseException, code: int, told: str
):
    def raises(arguments: object) -> int:
        raise error

    monkeypatch.setattr(main_module, "run_command", raises)
    done = heredity("inspect", "x")
    assert done.code == code and told in done.err


def test_a_closed_pipe_is_no_error():
    command = f"{sys.executable} -m heredity --help | head -1"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        command, shell=True, env=environment, capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_a_closed_output_ends_a_command_and_another_broken_pipe_is_told():
    code = (
        "import os, sys\n"
        "from heredity.cli import main as m\n"
        "from heredity.cli.output import console\n"
        "def elsewhere(words):\n"
        "    raise BrokenPipeError(32, 'Broken pipe', 'a worker')\n"
        "def told(words):\n"
        "    print('x' * 100_000) if words == ['print'] else console().print('x' * 100_000)\n"
        "    return 5\n"
        "def small(words):\n"
        "    print('x')\n"
        "    return 5\n"
        "m.run_command = {'elsewhere': elsewhere, 'small': small}.get(sys.argv[1], told)\n"
        "sys.exit(m.main(sys.argv[1:]))\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}

    def run(how: str) -> tuple[int, str]:
        reading, writing = os.pipe()
        os.close(reading)
        try:
            done = subprocess.run(
                [sys.executable, "-c", code, how], env=environment, stdout=writing,
                stderr=subprocess.PIPE, text=True, timeout=60,
            )  # fmt: skip
        finally:
            os.close(writing)
        return done.returncode, done.stderr

    for how in ("print", "rich", "small"):
        assert run(how) == (0, "")
    returncode, told = run("elsewhere")
    assert returncode == 1 and "Broken pipe: 'a worker'" in told


def test_terminating_a_command_is_ctrl_c():
    code = (
        "import signal, sys\n"
        "from heredity.cli import main as m\n"
        "m.run_command = lambda words: signal.raise_signal(signal.SIGTERM)\n"
        "sys.exit(m.main(['x']))\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 130 and done.stderr == "heredity: interrupted\n"
    assert signal.getsignal(signal.SIGINT) is not None


def test_envs(heredity):
    done = heredity("envs", "--json")
    assert done.code == 0
    assert "constant-reward" in done.json["probe"]["names"]
    told = heredity("envs")
    assert told.code == 0 and "probe/constant-reward" in told.out.split()


def test_envs_of_an_adapter_with_many_are_told_when_it_is_asked_for(heredity):
    pytest.importorskip("ale_py")
    names = [f"atari/{name}" for name in heredity("envs", "--json").json["atari"]["names"]]
    assert len(names) > 100
    shown = [word for word in heredity("envs").out.split() if word.startswith("atari/")]
    assert set(shown) == set(names[: len(shown)]) and len(shown) < 10
    assert f"and {len(names) - len(shown)} more: heredity envs atari" in heredity("envs").out
    asked = heredity("envs", "atari")
    assert sorted(word for word in asked.out.split() if "/" in word) == sorted(names)
    assert asked.out.startswith("atari ") and "more:" not in asked.out


@pytest.mark.parametrize(
    ("what", "ids"),
    [
        ("cartpole", {"gym/CartPole-v1", "gymnax/CartPole-v1"}),
        ("gymnax/cartp", {"gymnax/CartPole-v1"}),
        ("gymnax", {"gymnax/CartPole-v1", "gymnax/Pendulum-v1"}),
    ],
)
def test_envs_by_a_part_of_their_id(heredity, what: str, ids: set[str]):
    told = heredity("envs", what)
    words = set(told.out.split())
    assert ids <= words and "gym/Pendulum-v1" not in words
    rows = heredity("envs", what, "--json").json
    assert {f"{row['name']}/{name}" for row in rows.values() for name in row["names"]} <= words
    assert ids <= {f"{row['name']}/{name}" for row in rows.values() for name in row["names"]}


@pytest.mark.parametrize("columns", ["1", "0", "7"])
def test_help_ends_on_a_terminal_of_any_width(columns: str):
    done = subprocess.run(
        [sys.executable, "-m", "heredity", "train", "ppo", "--help"],
        env={**os.environ, "COLUMNS": columns},
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0
    assert "--total-timesteps" in done.stdout


@pytest.mark.parametrize("words", [["envs"], ["envs", "--json"], ["--help"]])
def test_a_closed_standard_output_is_no_mistake(words: list[str]):
    command = " ".join([sys.executable, "-m", "heredity", *words, ">&-"])
    done = subprocess.run(["sh", "-c", command], stderr=subprocess.PIPE, text=True, timeout=60)
    assert done.returncode == 0
    assert "Traceback" not in done.stderr


def test_an_encoding_that_lacks_a_sign_costs_no_result(tmp_path):
    code = "from heredity.cli import main; main._see_to_streams(); print('1 \\u00b1 2')"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.stdout == "1 ? 2\n", done.stderr
