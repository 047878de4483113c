"""Ids: what resolves, what is refused, and with which words."""

import dataclasses
import importlib.metadata
import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from heredity.common.errors import MissingExtraError, UnknownNameError, UsageError
from heredity.environments import (
    Adapter,
    EnvironmentSpec,
    check_id,
    find_adapter,
    list_environments,
    make,
    make_recorded,
    register,
    registry,
)
from heredity.environments.probes import AlwaysTruncated, ConstantReward

MODULE = textwrap.dedent(
    '''
    from heredity.environments.probes import AlwaysTruncated
    from heredity.environments.hosted import HostedEnvironment

    def probe(num_envs: int, length: int = 4, *, label: str = "x"):
        """A probe of my own."""
        return AlwaysTruncated(length)

    def one_host(num_envs: int):
        return HostedEnvironment(AlwaysTruncated(2), 1)

    def unsized_host():
        return HostedEnvironment(AlwaysTruncated(2), 1)

    class Bare(AlwaysTruncated):
        """A class of my own."""

        def __init__(self, length: "int" = 4):
            super().__init__(length)

    def unreadable(length: "NotImported" = 4):
        return AlwaysTruncated(length)

    def theirs():
        import gymnasium
        return gymnasium.make("CartPole-v1")

    def nonsense(num_envs: int):
        return 3

    number = 3
    '''
)


@pytest.fixture
def own_module(tmp_path, monkeypatch):
    (tmp_path / "my_own_environments.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "my_own_environments", raising=False)
    return "my_own_environments"


@pytest.fixture
def own_adapter(monkeypatch):
    monkeypatch.setattr(registry, "_registered", {})

    @dataclasses.dataclass(frozen=True)
    class Options:
        """None."""

    adapter = Adapter(
        name="mine",
        options=Options,
        make=lambda name, num_envs, options: ConstantReward(),
        names=lambda: ("easy",),
        missing=lambda: None,
        summary="my own",
    )
    register(adapter)
    return adapter


def test_the_environment_knows_what_it_was_made_from():
    env = make("probe/always-truncated", num_envs=3, length=5)
    assert env.num_envs == 3
    assert env.spec == EnvironmentSpec("probe/always-truncated", {"length": 5, "host": False})
    again = make_recorded(EnvironmentSpec(**json.loads(json.dumps(env.spec.to_json()))), 3)
    assert again.spec == env.spec
    assert again.max_episode_steps == 5


def test_the_adapter_says_how_many_when_nobody_does():
    assert make("probe/constant-reward", host=True).num_envs == 32
    assert make("probe/constant-reward").num_envs is None  # one environment, nobody asked


@pytest.mark.parametrize("num_envs", [0, -1, 2.0, True, "4"])
def test_the_number_of_environments_is_checked(num_envs):
    with pytest.raises(UsageError, match=r"num_envs=.*whole number >= 1"):
        make("probe/constant-reward", num_envs=num_envs)


@pytest.mark.parametrize(
    ("id", "message"),
    [
        ("brx/ant", "did you mean 'brax/ant'"),
        ("brax/antt", "did you mean 'brax/ant'"),
        ("gymnax/CartPole-v2", "did you mean 'gymnax/CartPole-v1'"),
        ("gym/CartPole-v77", "did you mean .*'gym/CartPole-v1'"),
        ("gym/CartPol-v1", "did you mean .*'gym/CartPole-v1'"),
        ("gym/nobody/CartPole-v1", "unknown environment 'gym/nobody/CartPole-v1'"),
        ("probe/constant-rewards", "did you mean 'probe/constant-reward'"),
        ("constant-reward", "did you mean 'probe/constant-reward'.*an id reads adapter/name"),
        ("", "an id reads adapter/name"),
    ],
)
def test_unknown_names_are_told_the_nearest(id, message):
    with pytest.raises(UnknownNameError, match=message):
        make(id)


def test_unknown_options_and_wrong_values():
    with pytest.raises(UnknownNameError, match=r"option of probe/constant-reward 'lenght'"):
        make("probe/constant-reward", lenght=3)
    with pytest.raises(UsageError, match="length='3' of probe/constant-reward: a whole number"):
        make("probe/constant-reward", length="3")


def test_options_can_be_asked_for_before_anything_is_made():
    adapter = find_adapter("probe/constant-reward")
    assert [field.name for field in dataclasses.fields(adapter.options)] == ["length", "host"]
    with pytest.raises(UnknownNameError):
        find_adapter("prob/constant-reward")


def test_a_missing_extra_names_itself_and_breaks_nobody_else(monkeypatch):
    from heredity.environments import brax

    absent = dataclasses.replace(brax.ADAPTER, missing=lambda: "brax is not installed")
    monkeypatch.setattr(brax, "ADAPTER", absent)
    with pytest.raises(MissingExtraError, match=r"brax is not installed.*'heredity\[brax\]'"):
        make("brax/ant")
    rows = {row.name: row for row in list_environments()}
    assert rows["brax"].names == ()
    assert rows["brax"].missing == "brax is not installed: pip install 'heredity[brax]'"
    assert "constant-reward" in rows["probe"].names


def test_every_adapter_is_listed():
    rows = {row.name: row for row in list_environments()}
    assert {"brax", "gym", "gymnax", "probe"} <= set(rows)
    assert "CartPole-v1" in rows["gym"].names
    assert "CartPole-v0" not in rows["gym"].names  # the newest version alone
    assert all(row.summary for row in rows.values())


def test_own_adapters(own_adapter):
    assert make("mine/easy", 2).spec.id == "mine/easy"
    register(own_adapter)  # twice the same is no harm
    with pytest.raises(UsageError, match="'mine' is taken"):
        register(dataclasses.replace(own_adapter, summary="another"))
    with pytest.raises(UsageError, match="'brax' is taken"):
        register(dataclasses.replace(own_adapter, name="brax"))
    with pytest.raises(UsageError, match="plain word"):
        register(dataclasses.replace(own_adapter, name="a/b"))


def test_entry_points(own_adapter, monkeypatch):
    def point(name, value):
        return importlib.metadata.EntryPoint(name, value, registry.ENTRY_POINTS)

    adapter = dataclasses.replace(own_adapter, name="theirs")
    module = type(sys)("a_package")
    module.ADAPTER, module.OTHER = adapter, 3
    monkeypatch.setitem(sys.modules, "a_package", module)
    points = {
        "theirs": point("theirs", "a_package:ADAPTER"),
        "wrong": point("wrong", "a_package:OTHER"),
        "broken": point("broken", "no_such_package_anywhere:ADAPTER"),
        "probe": point("probe", "a_package:ADAPTER"),
    }
    monkeypatch.setattr(registry, "_entry_points", lambda: points)
    assert make("theirs/easy").spec.id == "theirs/easy"
    assert make("probe/constant-reward").spec.id == "probe/constant-reward"
    with pytest.raises(UsageError, match="holds a int, an Adapter was expected"):
        make("wrong/x")
    with pytest.raises(UsageError, match=r"no_such_package_anywhere:ADAPTER.*could not be loaded"):
        make("broken/x")
    rows = {row.name: row for row in list_environments()}
    assert "could not be loaded" in rows["broken"].missing
    assert rows["theirs"].names == ("easy",)


def test_a_factory_in_the_current_folder(own_module):
    env = make(f"{own_module}:probe", 2, length=7)
    assert isinstance(env, AlwaysTruncated) or type(env).__name__ == "AlwaysTruncated"
    assert env.max_episode_steps == 7
    assert env.spec == EnvironmentSpec(f"{own_module}:probe", {"length": 7})
    adapter = find_adapter(f"{own_module}:probe")
    assert adapter.summary == "A probe of my own."
    assert adapter.options() == adapter.options(length=4, label="x")
    assert adapter.make("", 1, adapter.options(length=6)).max_episode_steps == 6


@pytest.mark.parametrize(
    ("id", "options", "message"),
    [
        ("no_such_module_anywhere:probe", {}, "there is no module 'no_such_module_anywhere'"),
        ("my_own_environments:prob", {}, "did you mean 'probe'"),
        ("my_own_environments:number", {}, "unknown factory"),
        ("my_own_environments:probe", {"size": 3}, "'size'"),
        ("my_own_environments:probe", {"label": {1, 2}}, "have to be JSON values"),
        ("my_own_environments:nonsense", {}, "gave a int: a JaxEnvironment or HostEnvironment"),
        ("my_own_environments:one_host", {}, "asked for 2 environments and made 1"),
        ("my_own_environments:unsized_host", {}, "asked for 2 .* takes a parameter num_envs"),
        ("my_own_environments:theirs", {}, "gave a TimeLimit.*give the id, 'gym/CartPole-v1'"),
    ],
)
def test_factories_that_do_not_do(own_module, id, options, message):
    with pytest.raises(UsageError, match=message):
        make(id, 2, **options)


def test_a_factory_need_not_take_a_number(own_module):
    env = make(f"{own_module}:Bare", 2, length=7)
    assert (env.num_envs, env.max_episode_steps) == (2, 7)
    adapter = find_adapter(f"{own_module}:Bare")
    assert adapter.summary == "A class of my own."
    assert make(f"{own_module}:unsized_host").num_envs == 1
    with pytest.raises(UsageError, match=r"annotations .* cannot be read: .*NotImported"):
        find_adapter(f"{own_module}:unreadable")


def test_an_id_is_checked_without_making_anything(own_module):
    for id in ("probe/constant-reward", "gym/CartPole-v1", f"{own_module}:probe"):
        check_id(id)
    for id in ("probe/constant-rewards", "gym/CartPol-v1", f"{own_module}:prob", "nonsense"):
        with pytest.raises(UnknownNameError):
            check_id(id)


def test_an_unknown_environment_is_answered_briefly():
    for id in ("CartPole-v1", "gym/CartPole-v77", "brax/antt", "gmy/CartPole-v1"):
        with pytest.raises(UnknownNameError, match="heredity envs lists all") as told:
            make(id)
        assert len(str(told.value)) < 250
    with pytest.raises(UnknownNameError, match="did you mean 'gym/LunarLander-v3'"):
        make("LunarLander-v3")  # also where it cannot be made


def test_an_import_error_inside_a_factory_is_its_own(tmp_path, monkeypatch):
    (tmp_path / "my_broken_module.py").write_text("import no_such_thing_inside")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError, match="no_such_thing_inside"):
        make("my_broken_module:probe")


@pytest.mark.parametrize(
    "id",
    [
        "my_own_environments:probe",
        "mine/easy",
        "gym/my_own_environments:CartPole-v1",
        "gym/GymV21Environment-v0",
        "nonsense",
    ],
)
def test_a_file_does_not_choose_what_code_is_run(own_module, own_adapter, id):
    with pytest.raises(UsageError, match=f"--env, or vouch for this one with --trust {id}"):
        make_recorded(EnvironmentSpec(id))
    assert own_module not in sys.modules


def test_what_is_trusted_by_name_is_made(own_module, own_adapter):
    id = f"{own_module}:probe"
    assert make_recorded(EnvironmentSpec(id, {"length": 3}), 2, trust=(id,)).num_envs == 2
    assert make_recorded(EnvironmentSpec("mine/easy"), trust=["mine/easy"]).spec.id == "mine/easy"
    with pytest.raises(UsageError, match="--trust"):
        make_recorded(EnvironmentSpec("mine/easy"), trust=[id])


def test_options_from_a_file_are_checked():
    with pytest.raises(UnknownNameError, match="option of probe/constant-reward"):
        make_recorded(EnvironmentSpec("probe/constant-reward", {"lengths": 3}))


def test_importing_brings_no_environment_library():
    code = (
        "import sys, heredity.environments;"
        "print([m for m in ('brax', 'gymnax', 'mujoco', 'matplotlib', 'jax',"
        " 'gymnasium.envs.classic_control.cartpole') if m in sys.modules])"
    )
    source = str(Path(registry.__file__).parents[2])
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": source},
    )
    assert done.stdout.strip() == "[]"


def test_a_file_cannot_choose_how_many_environments_are_made():
    with pytest.raises(UsageError, match="may not hold num_envs"):
        make_recorded(EnvironmentSpec("probe/constant-reward", {"num_envs": 5}))


@pytest.mark.parametrize("id", [5, None, object])
def test_an_id_is_a_text(id: object):
    with pytest.raises(UsageError, match="the id is"):
        make(id)  # pyright: ignore[reportArgumentType]
