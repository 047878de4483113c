"""The examples do what they say, on problems small enough for a test."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from heredity.environments import Environment

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"

SMALLER = {"deter": 16, "hidden": 8, "units": 8, "groups": 2, "classes": 4, "train_ratio": 4}


def example(name: str) -> ModuleType:
    """An example as a module; it runs nothing before somebody calls its `main`."""
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_watch_it_grow_is_short():
    assert len((EXAMPLES / "watch_it_grow.py").read_text().splitlines()) < 40


@pytest.mark.slow
def test_watch_it_grow_keeps_and_renders_every_policy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    import heredity as hd

    """On a body that compiles in seconds; the ant itself is made, and would take minutes."""
    monkeypatch.chdir(tmp_path)
    make = hd.make

    def made(id: str, **options: Any) -> Environment:
        assert make(id, **options).scene() is not None
        return make("gymnax/CartPole-v1", num_envs=options["num_envs"])

    monkeypatch.setattr(hd, "make", made)
    module = example("watch_it_grow")
    module.main(120, num_envs=4, num_steps=15, num_minibatches=2)
    steps = sorted(int(page.stem) for page in (module.RUN / "mine").glob("*.html"))
    assert steps == [0, 60, 120], "a frequency is met at the end of the first iteration past it"
    printed = capsys.readouterr().out
    for step in steps:
        policy = hd.Policy.from_pretrained(module.RUN / "mine" / f"{step}")
        assert policy.policy_hash in printed
        page = (module.RUN / "mine" / f"{step}.html").read_text()
        assert "<html" in page and len(page) > 100_000, "a scene of its own, playable offline"
    assert (module.RUN / "run" / "report.html").stat().st_size > 1_000_000
    assert "watch it grow: " in printed


@pytest.mark.slow
def test_pretrained_vit_proves_what_it_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.chdir(tmp_path)
    module = example("pretrained_vit")
    module.main(2_560)
    printed = capsys.readouterr().out
    ways = [line.split()[-1] for line in printed.splitlines() if line.startswith(("at c", "by "))]
    assert len(ways) == 3 and len(set(ways)) == 1
    assert "resized     trunk/encoder/positions" in printed
    assert "38 arrays, 76,288 bytes: all as they were put in" in printed


@pytest.mark.slow
def test_pretrained_world_model_proves_what_it_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(EXAMPLES))  # it takes the file of the other example
    module = example("pretrained_world_model")
    monkeypatch.setattr(module, "SMALL", {**module.SMALL, **SMALLER})
    module.main(1_024, elsewhere=False)
    printed = capsys.readouterr().out
    later = [line.split()[2:] for line in printed.splitlines() if "have moved" in line]
    moved, in_optimizer = ([int(words[index]) for words in later] for index in (0, 6))
    assert moved == [0, 0, 0, 38] and in_optimizer[:2] == [0, 0] and in_optimizer[-1] > 0
    assert "only the world model:        continue, decoder, reward, trunk are" in printed
    assert "only the actor:              actor are" in printed
    assert "all, but a new reward head:  actor, continue, critic, decoder, trunk are" in printed


@pytest.mark.slow
def test_new_sensor_tells_its_guarantees_and_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    import heredity as hd

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "160")  # in a narrow terminal lines are folded
    module = example("new_sensor")
    module.main(4_096, compare=False)
    printed = capsys.readouterr().out
    assert "+ x_velocity, tip, zero; - x;" in printed and "bounded(" in printed
    assert "holds" in printed and "DOES NOT" not in printed
    policy = hd.Policy.from_pretrained(module.RUN / "policy")
    operations = [entry.operation for entry in policy.lineage.entries]
    assert operations.count("train") == 2 and "transfer" in operations
    assert policy.predict(policy.spec.observation_space.sample(np.random.default_rng(0)))[0] in (
        0,
        1,
    )
