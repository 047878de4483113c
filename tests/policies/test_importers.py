"""Policies of other libraries act as they did there. Fixtures: benchmarks/conformance."""

import dataclasses
import functools
import io
import json
import pickle
import shutil
import sys
import types
import zipfile
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from tests.policies.foreign import BY_NAME, CASES, FOREIGN, Case
from tests.weights.hostile import Calls

from heredity.common.errors import RefusedError, UnknownNameError, UsageError
from heredity.common.tensors import tensor_bytes
from heredity.networks.normalizer import normalizer_in_numpy
from heredity.policies import Policy
from heredity.policies.importers import (
    IMPORTERS,
    Imported,
    ImportOptions,
    cleanrl,
    import_policy,
    read_dreamerv3,
    rules_from_json,
    sb3,
)
from heredity.spaces import Box, Dict, Discrete
from heredity.weights import content_hash
from heredity.weights.report import ROUNDING, WeightReport

MOST = 1e-5  # what an action may differ, in the units of the environment


COMPILED = (  # every family and every kind of normalisation once; compiling takes seconds
    "sb3_ppo_box",
    "sb3_ppo_cnn",
    "sb3_ppo_dict",
    "sb3_sac_normalized",
    "rsl_rl_5_normalized",
    "brax_ppo_constant",
)


@functools.cache
def imported_as(name: str) -> Imported:
    case = BY_NAME[name]
    return import_policy(case.path, case.format, case.options)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_imported_policies_act_as_the_originals(case: Case):
    policy = imported_as(case.name).policy
    seen, actions, _ = case.expected()
    assert len(actions) == 1000 and np.std(actions) > 0.05
    if case.name in COMPILED:
        found, _ = policy.predict(seen)
        np.testing.assert_allclose(found, actions, rtol=0, atol=MOST)
    if case.name == "sb3_ppo_cnn":
        return  # nothing but the compiled program computes it
    for index, action in enumerate(actions):
        one, _ = policy.predict(jax.tree.map(lambda part, at=index: part[at], seen))
        np.testing.assert_allclose(one, action, rtol=0, atol=MOST)


@pytest.mark.parametrize(
    "case",
    [case for case in CASES if case.expected()[2] is not None],
    ids=lambda case: case.name,
)
def test_imported_critics_judge_as_the_originals(case: Case):
    policy = imported_as(case.name).policy
    seen, _, values = case.expected()
    functions, spec = policy.functions, policy.spec
    if functions.critic is None:
        assert case.name == "rsl_rl_2_normalized", "which says that it was left out"
        return
    if functions.trunk is not None:
        judged = jax.tree.map(lambda part: part[:50], seen)
        found = jax.jit(functions.value)(policy.params, judged)
    else:
        if spec.normalize_observations:
            seen = normalizer_in_numpy(
                spec.observation_space,
                policy.params["normalizer"],
                spec.observation_clip,
                spec.observation_epsilon,
            )(seen)
        critic = functions.critic.in_numpy(policy.params["critic"], batched=True)
        found = critic(seen)[:, 0]
    np.testing.assert_allclose(found, values[: len(found)], rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_reports_and_lineage_say_where_every_weight_came_from(case: Case, tmp_path: Path):
    imported = imported_as(case.name)
    report = imported.report
    assert report.coverage == 1.0 and report.guarantee == ROUNDING
    assert all(row.source for row in report.rows)
    imported.policy.save_pretrained(tmp_path)
    again = Policy.from_pretrained(tmp_path)
    (entry,) = again.lineage.entries
    assert (entry.operation, entry.parent, entry.step) == ("import", None, case.steps)
    assert entry.hash == again.policy_hash == imported.policy.policy_hash
    assert WeightReport.from_json(entry.arguments["report"]) == report
    assert entry.arguments["format"] == case.format and len(entry.arguments["sha256"]) == 64


def test_every_fixture_says_which_versions_made_it():
    versions = json.loads((FOREIGN / "versions.json").read_text())
    assert versions["rsl_rl_2"]["rsl_rl"].startswith("2.")
    assert {"brax", "others", "rsl_rl_5", "sb3", "torch"} <= set(versions)
    total = sum(path.stat().st_size for path in FOREIGN.rglob("*") if path.is_file())
    assert total < 2_200_000


# --- what is asked for --------------------------------------------------------------------------


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_whatever_a_file_does_not_say_is_asked_for_at_once(case: Case):
    asked = [
        name
        for name in ("activation", "action_bounds", "critic", "normalizer", "observation_names")
        if getattr(case.options, name) is not None
    ]
    with pytest.raises(UsageError, match="was read and is whole") as error:
        import_policy(case.path, case.format)
    told = str(error.value)
    assert [name for name in asked if f"--{name.replace('_', '-')}:" in told] == asked
    assert told.count("\n") == len(asked)
    for name in asked:
        with pytest.raises(UsageError, match=f"--{name.replace('_', '-')}:"):
            import_policy(case.path, case.format, dataclasses.replace(case.options, **{name: None}))


def test_names_become_those_of_the_columns():
    case = BY_NAME["sb3_ppo_box"]
    names = ("a", "b", "c", "d", "e")
    options = dataclasses.replace(case.options, observation_names=names)
    assert import_policy(case.path, "sb3", options).policy.spec.observation_space.names == names
    with pytest.raises(UsageError, match="reads 5 features; there are 4 observation names"):
        options = dataclasses.replace(case.options, observation_names=names[1:])
        import_policy(case.path, "sb3", options)
    case = BY_NAME["sb3_ppo_dict"]
    options = dataclasses.replace(case.options, observation_names=("x", "y", "z"))
    space = import_policy(case.path, "sb3", options).policy.spec.observation_space
    assert isinstance(space, Dict) and space["angle"].names == ("x", "y", "z")


def test_nothing_that_is_said_is_ignored():
    case = BY_NAME["brax_ppo"]
    with pytest.raises(UsageError, match=r"--activation elu: .* itself says swish"):
        import_policy(case.path, "brax", dataclasses.replace(case.options, activation="elu"))
    with pytest.raises(UsageError, match=r"--normalizer none: .* itself says file"):
        import_policy(case.path, "brax", dataclasses.replace(case.options, normalizer="none"))
    with pytest.raises(UsageError, match="--critic is nothing"):
        import_policy(case.path, "brax", dataclasses.replace(case.options, critic="same"))
    with pytest.raises(UnknownNameError, match="activation 'elo'"):
        ImportOptions(activation="elo")
    with pytest.raises(UnknownNameError, match="did you mean 'rsl_rl'"):
        import_policy(case.path, "rslrl")


def test_a_known_hash_is_compared():
    case = BY_NAME["cleanrl_ppo"]
    found = import_policy(case.path, "cleanrl", case.options)
    digest = found.policy.lineage.entries[0].arguments["sha256"]
    import_policy(case.path, "cleanrl", dataclasses.replace(case.options, sha256=digest.upper()))
    with pytest.raises(RefusedError, match="--sha256 says"):
        import_policy(case.path, "cleanrl", dataclasses.replace(case.options, sha256="0" * 64))


def test_the_hash_that_is_recorded_is_of_the_bytes_that_were_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    case = BY_NAME["cleanrl_ppo"]
    path = Path(shutil.copy(case.path, tmp_path))
    read = cleanrl.read_torch

    def read_then_replaced(path: Path):
        found = read(path)
        path.write_bytes(path.read_bytes())  # the same bytes: but who knows
        return found

    monkeypatch.setattr(cleanrl, "read_torch", read_then_replaced)
    with pytest.raises(RefusedError, match="was changed while it was read"):
        import_policy(path, "cleanrl", case.options)


def test_environments_that_are_named_stay_with_the_policy():
    case = BY_NAME["cleanrl_ppo"]
    environment = {"id": "gymnasium/CartPole-v1", "options": {}}
    options = dataclasses.replace(case.options, environment=environment)
    assert import_policy(case.path, "cleanrl", options).policy.spec.environment == environment


def test_what_an_environment_shows_decides_bounds_and_dtype():
    case = BY_NAME["cleanrl_ppo"]
    shown = Box((5,), -9.0, 9.0, "float64", names=("a", "b", "c", "d", "e"))
    for space, expected in ((shown, shown), (Box((4,), -1.0, 1.0), Box((5,)))):
        options = dataclasses.replace(case.options, observation_space=space)
        policy = import_policy(case.path, "cleanrl", options).policy
        assert policy.spec.observation_space == expected


# --- what is refused, before anything is asked --------------------------------------------------


def rewritten(case: Case, folder: Path, **changes: Any) -> Path:
    """A copy of a Stable-Baselines3 zip with another ``data``; None takes an entry out."""
    target = folder / "model.zip"
    with zipfile.ZipFile(case.path) as old, zipfile.ZipFile(target, "w") as new:
        for name in old.namelist():
            content = old.read(name)
            if name == "data":
                data = json.loads(content) | changes
                content = json.dumps({k: v for k, v in data.items() if v is not None}).encode()
            new.writestr(name, content)
    return target


def pickled(value: Any) -> dict[str, str]:
    import base64

    return {":type:": "x", ":serialized:": base64.b64encode(pickle.dumps(value)).decode()}


def test_sb3_files_that_are_refused(tmp_path: Path):
    import os

    case = BY_NAME["sb3_ppo_discrete"]
    with pytest.raises(RefusedError, match="state-dependent noise"):
        import_policy(FOREIGN / "sb3_ppo_gsde" / "model.zip", "sb3")
    canary = tmp_path / "canary"
    hostile = pickled(Calls(os.system, f"touch {canary}"))
    for entry in ("policy_class", "observation_space", "action_space", "policy_kwargs"):
        with pytest.raises(RefusedError, match=r"asks for posix\.system"):
            import_policy(rewritten(case, tmp_path, **{entry: hostile}), "sb3")
    # The returns of training are a pickle as well; what cannot be read there is not recorded.
    kept = import_policy(rewritten(case, tmp_path, ep_info_buffer=hostile), "sb3", case.options)
    assert kept.recorded is None and not canary.exists()
    for changes, told in (
        ({"observation_space": None}, "does not say its observation_space"),
        ({"policy_class": None}, "does not say its policy_class"),
        ({"policy_class": pickled(dict(a=1))}, "class of its policy"),
        ({"policy_kwargs": pickled({"net_arch": Calls(Case, 1)})}, "asks for"),
        ({"policy_kwargs": [1]}, "no dict"),
        ({"policy_kwargs": {"activation_fn": "Sigmoid"}}, "activation Sigmoid"),
        ({"action_space": pickled(3)}, "none of Gymnasium's"),
    ):
        with pytest.raises(RefusedError, match=told):
            import_policy(rewritten(case, tmp_path, **changes), "sb3")
    with pytest.raises(RefusedError, match="no member 'data'"):
        import_policy(BY_NAME["rsl_rl_5"].path, "sb3")
    with pytest.raises(RefusedError, match=r"no pickle of a VecNormalize|asks for"):
        options = dataclasses.replace(case.options, normalizer=str(BY_NAME["brax_ppo_arrays"].path))
        import_policy(case.path, "sb3", options)
    with pytest.raises(RefusedError, match=r"statistics of shape \(5,\)|is normalised"):
        other = BY_NAME["sb3_ppo_box"].options.normalizer
        a2c = BY_NAME["sb3_a2c_choices"]
        import_policy(a2c.path, "sb3", dataclasses.replace(a2c.options, normalizer=other))


def test_spaces_of_the_older_gym_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Before Gymnasium, spaces had the same content in modules of another name."""

    def space(module: str, name: str, state: dict[str, Any]) -> dict[str, str]:
        kind = type(name, (), {"__module__": module})
        made = types.ModuleType(module)
        setattr(made, name, kind)
        monkeypatch.setitem(sys.modules, module, made)
        one = kind()
        one.__dict__.update(state)
        return pickled(one)

    for package in ("gym", "gym.spaces"):
        monkeypatch.setitem(sys.modules, package, types.ModuleType(package))
    bound = np.full(5, 3.0, np.float32)
    state = {"dtype": bound.dtype, "_shape": (5,), "low": -bound, "high": bound}
    path = rewritten(
        BY_NAME["sb3_ppo_discrete"],
        tmp_path,
        observation_space=space("gym.spaces.box", "Box", {**state, "_np_random": None}),
        action_space=space("gym.spaces.discrete", "Discrete", {"n": 3, "_np_random": None}),
    )
    case = BY_NAME["sb3_ppo_discrete"]
    policy = import_policy(path, "sb3", case.options).policy
    assert policy.spec == import_policy(case.path, "sb3", case.options).policy.spec


def test_statistics_that_are_none_are_refused(tmp_path: Path):
    """What fuzzing found: a flag that is an array, statistics of another kind."""
    case = BY_NAME["sb3_ppo_box"]
    good = Path(str(case.options.normalizer)).read_bytes()
    path = tmp_path / "vecnormalize.pkl"
    flag = b"norm_obs\x94\x88"
    assert flag in good
    for instruction in (b"]", b"N"):  # a list, None
        path.write_bytes(good.replace(flag, flag[:-1] + instruction))
        with pytest.raises(RefusedError, match="norm_obs is no truth value"):
            options = dataclasses.replace(case.options, normalizer=str(path))
            import_policy(case.path, "sb3", options)


def test_runs_may_begin_with_imported_policies():
    """The specification is the one that PPO makes of the same settings."""
    from heredity.algorithms.ppo.network_config import NetworkConfig
    from heredity.algorithms.ppo.networks import network_specs

    for name, settings in (
        ("sb3_ppo_discrete", {"hidden": (16, 16)}),
        ("sb3_ppo_box", {"hidden": (16, 8), "critic_hidden": (12,), "activation": "elu"}),
        ("cleanrl_ppo", {"hidden": (64, 64)}),
    ):
        spec = imported_as(name).policy.spec
        made = network_specs(NetworkConfig(**settings), spec.observation_space)
        told = [part and part.to_json() for part in made]
        assert told == [part and part.to_json() for part in (spec.trunk, spec.actor, spec.critic)]


def test_recorded_returns_are_told_and_measured_ones_kept():
    case = BY_NAME["sb3_ppo_box"]
    imported = import_policy(case.path, "sb3", case.options)
    assert imported.recorded == {"mean_return": 8.0, "std_return": 0.0, "episodes": 2}
    scored = imported.scored(7.5, 0.5, 10, "probe/x")
    score = scored.policy.lineage.score_of(scored.policy.policy_hash)
    assert score == {"mean_return": 7.5, "std_return": 0.5, "episodes": 10}
    assert scored.report.measurements[0].value == 7.5
    assert len(scored.policy.lineage.entries) == 1


def test_rsl_rl_files_that_are_refused():
    with pytest.raises(RefusedError, match="beta distribution"):
        import_policy(FOREIGN / "rsl_rl_5_beta" / "model.pt", "rsl_rl")
    with pytest.raises(RefusedError, match="model_state_dict or actor_state_dict"):
        import_policy(BY_NAME["cleanrl_ppo"].path, "rsl_rl")
    case = BY_NAME["rsl_rl_2_normalized"]
    with pytest.raises(RefusedError, match="statistics that differ"):
        import_policy(case.path, "rsl_rl", dataclasses.replace(case.options, critic="same"))
    with pytest.raises(UsageError, match="lowest is not below"):
        options = dataclasses.replace(case.options, action_bounds=(1, -1))
        import_policy(case.path, "rsl_rl", options)


def test_bounds_of_actions_clip_what_the_policy_does():
    case = BY_NAME["rsl_rl_5"]
    options = dataclasses.replace(case.options, action_bounds=(-0.1, [0.1, 0.2, 0.3]))
    policy = import_policy(case.path, "rsl_rl", options).policy
    seen, actions, _ = case.expected()
    found, _ = policy.predict(seen)
    np.testing.assert_allclose(found, actions.clip(-0.1, [0.1, 0.2, 0.3]), atol=MOST)


def test_brax_files_that_are_refused(tmp_path: Path):
    folder = tmp_path / "checkpoints" / "000000000100"
    shutil.copytree(BY_NAME["brax_ppo"].path, folder)
    with pytest.raises(RefusedError, match="Name one of its steps: 000000000100"):
        import_policy(folder.parent, "brax")
    config = folder / "ppo_network_config.json"
    good = json.loads(config.read_text())

    def changed(**settings: Any) -> None:
        factory = {**good["network_factory_kwargs"], **settings}
        config.write_text(json.dumps({**good, "network_factory_kwargs": factory}))

    for settings, told in (
        ({"mean_clip_scale": 2.0}, "mean_clip_scale"),
        ({"state_dependent_std": True}, "depends on what is seen"),
        ({"activation": "glu"}, "activation 'glu'"),
        ({"activation": {}}, "activation '{}'"),
    ):
        changed(**settings)
        with pytest.raises(RefusedError, match=told):
            import_policy(folder, "brax")
    config.write_text(json.dumps({**good, "observation_size": 7}))
    with pytest.raises(RefusedError, match="reads 6 features"):
        import_policy(folder, "brax")
    config.unlink()  # then the folder says no more than a pickle does
    with pytest.raises(UsageError, match="--activation") as error:
        import_policy(folder, "brax")
    assert "--normalizer" in str(error.value)


def test_cleanrl_files_that_are_refused(tmp_path: Path):
    with pytest.raises(RefusedError, match=r"agents of ppo\.py|state dict"):
        import_policy(BY_NAME["rsl_rl_5"].path, "cleanrl")
    case = BY_NAME["cleanrl_ppo_continuous"]
    other = tmp_path / "statistics.npz"
    for arrays, told in (
        ({"mean": np.zeros(5)}, "has no var"),
        ({"mean": np.zeros(4), "var": np.ones(4)}, r"shape \(4,\)"),
        ({"mean": np.zeros(5), "var": -np.ones(5)}, "below zero"),
        ({"mean": np.array([object]), "var": np.ones(5)}, "no whole array of numbers"),
    ):
        np.savez(other, **arrays)  # pyright: ignore[reportArgumentType]
        with pytest.raises(RefusedError, match=told):
            options = dataclasses.replace(case.options, normalizer=str(other))
            import_policy(case.path, "cleanrl", options)


def test_dreamerv3_checkpoints_are_read_and_told_not_to_be_policies(tmp_path: Path):
    checkpoint = FOREIGN / "dreamerv3" / "ckpt"
    expected = np.load(FOREIGN / "dreamerv3" / "expected.npz")
    for path in (checkpoint, next(checkpoint.glob("2*")), next(checkpoint.glob("2*/agent.pkl"))):
        found = read_dreamerv3(path)
        assert set(found.arrays) == {name.removeprefix("params/") for name in expected.files}
        for name, array in found.arrays.items():
            np.testing.assert_array_equal(array, expected[f"params/{name}"])
    assert found.counters == {"updates": 7, "batches": 8, "actions": 900}
    with pytest.raises(RefusedError, match="cannot become a policy yet"):
        import_policy(checkpoint, "dreamerv3")
    (tmp_path / "latest").write_text("../elsewhere")
    with pytest.raises(RefusedError, match="names no folder"):
        read_dreamerv3(tmp_path)


# --- layouts that no fixture has ------------------------------------------------------------------


def changed_file(monkeypatch: pytest.MonkeyPatch, name: str, **changes: Any) -> None:
    """Let a fixture of Stable-Baselines3 be read as if it had other content."""
    file = sb3.read_sb3(BY_NAME[name].path)
    monkeypatch.setattr(sb3, "read_sb3", lambda _: dataclasses.replace(file, **changes))


def test_pictures_that_dense_layers_read_are_refused(monkeypatch: pytest.MonkeyPatch):
    """Stable-Baselines3 divides such a space by 255 whatever reads it, unless it is told not to."""
    case = BY_NAME["sb3_ppo_box"]
    arrays = sb3.read_sb3(case.path).arrays
    features = arrays["mlp_extractor.policy_net.0.weight"].shape[1]
    picture = Box((1, 1, features), 0, 255, "uint8")
    for space in (picture, Dict({"camera": picture})):
        changed_file(monkeypatch, case.name, observation_space=space, order=("camera",))
        with pytest.raises(RefusedError, match="divides by 255 first"):
            import_policy(case.path, "sb3", case.options)
        monkeypatch.undo()
    settings = {"normalize_images": False}
    changed_file(monkeypatch, case.name, observation_space=picture, settings=settings)
    options = ImportOptions(normalizer="none")
    assert import_policy(case.path, "sb3", options).policy.spec.observation_space == picture


def test_actors_of_sac_that_see_pictures(monkeypatch: pytest.MonkeyPatch):
    """Three convolutional networks are too large for a fixture: one is put together from two."""
    case = BY_NAME["sb3_ppo_cnn"]
    ppo = imported_as(case.name).policy
    arrays = sb3.read_sb3(case.path).arrays
    draw = np.random.default_rng(0)
    layers = {
        f"actor.{name}.{part}": draw.normal(size=shape).astype(np.float32) / 5
        for name, shapes in (
            ("latent_pi.0", ((8, 24), (8,))),
            ("mu", ((2, 8), (2,))),
            ("log_std", ((2, 8), (2,))),
        )
        for part, shape in zip(("weight", "bias"), shapes, strict=True)
    }
    features = {f"actor.{n}": a for n, a in arrays.items() if n.startswith("features_extractor.")}
    others = {f"critic.{n}": a for n, a in arrays.items() if n.startswith("features_extractor.")}
    low, high = np.float32([-2.0, 0.0]), np.float32([2.0, 0.5])
    bounds = Box((2,), tuple(low.tolist()), tuple(high.tolist()))
    changed_file(
        monkeypatch,
        case.name,
        kind="sac",
        arrays={**features, **layers, **others},
        action_space=bounds,
    )
    imported = import_policy(case.path, "sb3", case.options)
    assert imported.report.counts()["dropped"] == len(others)
    seen = case.expected()[0][:20]
    assert ppo.functions.trunk is not None
    trunk, _, _ = jax.jit(ppo.functions.trunk.apply)(ppo.params["trunk"], seen)
    x = np.asarray(trunk)
    hidden = np.maximum(
        x @ layers["actor.latent_pi.0.weight"].T + layers["actor.latent_pi.0.bias"], 0
    )
    mean = hidden @ layers["actor.mu.weight"].T + layers["actor.mu.bias"]
    expected = low + 0.5 * (np.tanh(mean) + 1) * (high - low)
    found, _ = imported.policy.predict(seen)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


def test_features_that_are_not_shared_leave_the_critic_out(monkeypatch: pytest.MonkeyPatch):
    case = BY_NAME["sb3_ppo_cnn"]
    arrays = dict(sb3.read_sb3(case.path).arrays)
    arrays["vf_features_extractor.cnn.0.bias"] = arrays["vf_features_extractor.cnn.0.bias"] + 1
    changed_file(monkeypatch, case.name, arrays=arrays)
    imported = import_policy(case.path, "sb3", case.options)
    assert imported.policy.spec.critic is None
    assert any("the critic has features of its own" in note for note in imported.report.notes)
    trunk, actor = (imported.policy.params[name] for name in ("trunk", "actor"))
    assert content_hash({"trunk": trunk, "actor": actor}) == content_hash(
        {name: imported_as(case.name).policy.params[name] for name in ("trunk", "actor")}
    )


def test_layers_that_actor_and_critic_share_are_refused(monkeypatch: pytest.MonkeyPatch):
    case = BY_NAME["sb3_ppo_discrete"]
    arrays = dict(sb3.read_sb3(case.path).arrays)
    arrays["mlp_extractor.shared_net.0.weight"] = np.zeros((5, 5), np.float32)
    changed_file(monkeypatch, case.name, arrays=arrays)
    with pytest.raises(RefusedError, match="actor and critic share"):
        import_policy(case.path, "sb3", case.options)


def test_weights_are_checked_before_anything_is_asked(monkeypatch: pytest.MonkeyPatch):
    case = BY_NAME["sb3_ppo_discrete"]
    arrays = sb3.read_sb3(case.path).arrays
    broken = arrays["action_net.bias"].copy()
    broken[0] = np.nan
    for changes, told in (
        ({"action_net.bias": broken}, r"action_net\.bias has NaN"),
        ({"memory.weight": np.zeros(3)}, r"has memory\.weight, which no policy of this kind has"),
    ):
        with monkeypatch.context() as patched:
            changed_file(patched, case.name, arrays={**arrays, **changes})
            with pytest.raises(RefusedError, match=told):
                import_policy(case.path, "sb3")


@pytest.mark.parametrize("layout", ["frozen dicts", "one object", "without a critic"])
def test_older_pickles_of_brax(layout: str, tmp_path: Path):
    from brax.training.agents.ppo.losses import PPONetworkParams
    from flax.core.frozen_dict import FrozenDict

    case = BY_NAME["brax_ppo_arrays"]
    statistics, policy, value = pickle.loads(case.path.read_bytes())
    parts: tuple[Any, ...] = (statistics, policy)
    if layout == "frozen dicts":
        parts = (statistics, FrozenDict(policy), FrozenDict(value))
    elif layout == "one object":
        parts = (statistics, PPONetworkParams(policy=policy, value=value))
    path = tmp_path / "params.pkl"
    path.write_bytes(pickle.dumps(parts))
    found = import_policy(path, "brax", case.options).policy
    expected = imported_as(case.name).policy
    for name in found.params:
        assert content_hash(found.params[name]) == content_hash(expected.params[name])
    assert ("critic" in found.params) == (layout != "without a critic")


# --- safetensors --------------------------------------------------------------------------------

RULES = """[
  {"source": "net.0.weight", "target": "actor/hidden_0/kernel", "layout": "linear"},
  {"source": "net.0.bias", "target": "actor/hidden_0/bias"},
  {"source": "net.2.weight", "target": "actor/output/kernel", "layout": "linear"},
  {"source": "net.2.bias", "target": "actor/output/bias"},
  {"source": "optimiser.{*rest}"}
]"""


def test_safetensors_become_policies_by_rules(tmp_path: Path):
    from heredity.networks import DistributionSpec, MlpOptions
    from heredity.policies import PolicySpec

    draw = np.random.default_rng(0)
    arrays = {
        "net.0.weight": draw.normal(size=(8, 3)).astype(np.float32),
        "net.0.bias": draw.normal(size=8).astype(np.float32),
        "net.2.weight": draw.normal(size=(2, 8)).astype(np.float32),
        "net.2.bias": draw.normal(size=2).astype(np.float32),
        "optimiser.step": np.zeros(1, np.float32),
    }
    path = tmp_path / "net.safetensors"
    path.write_bytes(tensor_bytes(arrays, {}))
    spec = PolicySpec(
        Box((3,)), Discrete(2), MlpOptions(hidden=(8,)).spec(), DistributionSpec("categorical")
    )
    with pytest.raises(UsageError, match="--spec") as error:
        import_policy(path, "safetensors")
    assert "--rules" in str(error.value)
    options = ImportOptions(spec=spec, rules=rules_from_json(RULES, "rules.json"))
    imported = import_policy(path, "safetensors", options)
    seen = draw.normal(size=(1000, 3)).astype(np.float32)
    hidden = np.tanh(seen @ arrays["net.0.weight"].T + arrays["net.0.bias"])
    logits = hidden @ arrays["net.2.weight"].T + arrays["net.2.bias"]
    np.testing.assert_array_equal(imported.policy.predict(seen)[0], logits.argmax(-1))
    assert imported.report.counts()["dropped"] == 1
    with pytest.raises(RefusedError, match=r"optimiser\.step of the source matches no rule"):
        options = dataclasses.replace(options, rules=options.rules[:-1])
        import_policy(path, "safetensors", options)
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(RefusedError, match="safetensors"):
        import_policy(path, "safetensors")


@pytest.mark.parametrize(
    "text",
    [
        "{", "3", "[3]", '[{"target": "x"}]', '[{"source": 3}]', '[{"source": "a", "layuot": ""}]',
        '[{"source": "a", "layout": "x"}]', '[{"source": "a", "target": "{b}"}]',
    ],
)  # fmt: skip
def test_rules_that_are_none_are_told(text: str):
    with pytest.raises(UsageError):
        rules_from_json(text, "rules.json")


def test_missing_and_strange_files_are_refused(tmp_path: Path):
    import os

    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "text").write_text("hello")
    (tmp_path / "empty").touch()
    with zipfile.ZipFile(tmp_path / "other.zip", "w") as archive:
        archive.writestr("x", b"y")
    torn = io.BytesIO(BY_NAME["sb3_sac"].path.read_bytes()[:-100])
    (tmp_path / "torn.zip").write_bytes(torn.getvalue())
    for format in IMPORTERS:
        for name in ("missing", "pipe", "text", "empty", "other.zip", "torn.zip", "."):
            with pytest.raises(RefusedError):
                import_policy(tmp_path / name, format)
