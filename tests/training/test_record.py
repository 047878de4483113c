"""What a run's config.json may say; what is wrong in it is refused in its name."""

import json
from pathlib import Path
from typing import Any

import pytest
from tiny_runs import CONFIG, ENVIRONMENT, environment

from heredity.common.errors import MissingExtraError, RefusedError, UntrustedError, UsageError
from heredity.common.run_folder import RunFolder
from heredity.environments import EnvironmentSpec
from heredity.training import record as record_module
from heredity.training.record import config_record, make_named, read_settings, recorded_environment
from heredity.training.settings import RunSettings

FOLDER = RunFolder(Path("runs/tiny"))


def record() -> dict[str, Any]:
    settings = RunSettings(total_timesteps=64)
    return json.loads(json.dumps(config_record("id", CONFIG, environment(), settings)))


def test_what_was_recorded_is_made_again():
    assert read_settings(FOLDER, record()) == (CONFIG, RunSettings(total_timesteps=64))
    assert recorded_environment(FOLDER, record(), 3, ()).spec == environment().spec


@pytest.mark.parametrize(
    ("part", "name", "value"),
    [
        ("settings", "num_envs", 10**30),
        ("settings", "num_epochs", 10**30),
        ("settings", "network", {"hidden": [8, 10**30]}),
        ("settings", "learning_rate", 10**400),
        ("settings", "observation_clip", 10**400),
        ("run", "evaluation_episodes", 10**30),
        ("run", "total_timesteps", 10**400),
    ],
    ids=lambda value: str(value)[:24],
)
def test_numbers_too_large_are_refused(part: str, name: str, value: object):
    forged = record()
    forged[part][name] = value
    with pytest.raises(RefusedError, match=r"^runs/tiny/config\.json: "):
        read_settings(FOLDER, forged)


@pytest.mark.parametrize(
    ("named", "told"),
    [
        ({"id": ENVIRONMENT, "options": {"length": "x"}}, "option length='x'"),
        ({"id": ENVIRONMENT, "options": {"lenght": 3}}, "'length'"),
        ({"id": ENVIRONMENT, "options": {"num_envs": 3}}, "num_envs"),
        ({"id": ENVIRONMENT, "options": {"id": "x"}}, "may not hold id"),
        ({"id": "probe/no-such", "options": {}}, "unknown environment"),
        ({"id": ENVIRONMENT}, "does not name its environment"),
        ({"id": 3, "options": {}}, "does not name its environment"),
        ("brax/ant", "does not name its environment"),
        (False, "does not name its environment"),
    ],
    ids=str,
)
def test_a_name_of_nothing_is_refused(named: object, told: str):
    with pytest.raises(RefusedError) as raised:
        recorded_environment(FOLDER, {"environment": named}, 4, ())
    assert str(raised.value).startswith("runs/tiny/config.json: ")
    assert told in str(raised.value)


def test_what_a_person_has_to_do_is_no_fault_of_the_file(monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(UsageError, match="names no environment: give it with --env"):
        recorded_environment(FOLDER, {"environment": None}, 4, ())
    with pytest.raises(UntrustedError, match="--trust os:system"):
        make_named({"id": "os:system", "options": {}}, 4, (), FOLDER.config)

    def missing(spec: EnvironmentSpec, num_envs: int, trust: object, evaluating: bool) -> None:
        raise MissingExtraError(f"environment {spec.id!r}", "brax")

    monkeypatch.setattr(record_module, "make_recorded", missing)
    with pytest.raises(MissingExtraError, match=r"pip install 'heredity\[brax\]'"):
        make_named({"id": "brax/ant", "options": {}}, 4, (), FOLDER.config)
