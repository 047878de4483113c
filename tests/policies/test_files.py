import json
import os
import random
import shutil
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small_policy import build

from heredity.common.errors import RefusedError, StorageError, UntrustedError
from heredity.common.files import dump_json, seal_json
from heredity.common.reading import sha256_file
from heredity.common.tensors import read_tensors, tensor_bytes
from heredity.policies import Policy
from heredity.policies.files import load_policy
from heredity.weights import flatten, unflatten

FILES = ("config.json", "model.safetensors", "lineage.json")


def read(path: Path) -> dict[str, Any]:
    value = json.loads(path.read_text())
    value.pop("sha256", None)
    return value


def reseal(folder: Path, name: str, change: Callable[[dict[str, Any]], Any]) -> None:
    """Alter a JSON file as somebody would who wants it to look whole."""
    value = read(folder / name)
    change(value)
    (folder / name).write_text(seal_json(value))
    rehash(folder)


def rehash(folder: Path) -> None:
    record = read(folder / "lineage.json")
    if isinstance(record.get("files"), dict):
        record["files"] = {name: sha256_file(folder / name) for name in record["files"]}
    (folder / "lineage.json").write_text(seal_json(record))


def refused(folder: Path, named: str = "") -> str:
    with pytest.raises(RefusedError) as raised:
        Policy.from_pretrained(folder)
    assert raised.value.exit_code == 3
    assert named in str(raised.value)
    return str(raised.value)


# --- the round trip -------------------------------------------------------------------------------


def test_what_is_read_is_what_was_written(policy: Policy, saved: Path):
    again = Policy.from_pretrained(saved)
    assert again.spec == policy.spec
    assert again.lineage == policy.lineage
    assert again.policy_hash == policy.policy_hash
    seen = np.random.default_rng(0).normal(size=(50, 2))
    np.testing.assert_array_equal(again.predict(seen)[0], policy.predict(seen)[0])
    for key in range(3):
        drawn = [p.predict(seen, deterministic=False, key=key)[0] for p in (again, policy)]
        np.testing.assert_array_equal(*drawn)


def test_saving_again_gives_the_same_bytes(saved: Path, tmp_path: Path):
    Policy.load(str(saved)).save(str(tmp_path / "again"))
    for name in (*FILES, "README.md"):
        assert (saved / name).read_bytes() == (tmp_path / "again" / name).read_bytes()


def test_the_header_of_the_weights_says_nothing_else(saved: Path):
    _, metadata = read_tensors(saved / "model.safetensors")
    assert metadata == {"format": "heredity.policy", "schema_version": "1"}


def test_equal_weights_are_equal_bytes_whatever_their_history(tmp_path: Path):
    one, two = build(3), build(3)
    one.save_pretrained(tmp_path / "one")
    Policy(two.spec, two.params).save_pretrained(tmp_path / "two")
    files = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("one", "two")]
    assert files[0] == files[1]


def test_a_policy_is_replaced_and_other_files_stay(saved: Path):
    (saved / "notes.txt").write_text("mine")
    other = build(9)
    other.save_pretrained(saved)
    assert Policy.from_pretrained(saved).policy_hash == other.policy_hash
    assert (saved / "notes.txt").read_text() == "mine"


def test_a_save_torn_in_between_is_refused(saved: Path, monkeypatch: pytest.MonkeyPatch):
    from heredity.policies import files

    written = []
    real = files.write_atomically

    def write(path: Path, data: bytes) -> None:
        if len(written) == 2:
            raise StorageError(path, OSError(28, "No space left on device"))
        written.append(path)
        real(path, data)

    monkeypatch.setattr(files, "write_atomically", write)
    with pytest.raises(StorageError, match="No space left"):
        build(9).save_pretrained(saved)
    refused(saved, "model.safetensors")


def test_a_file_in_the_way_is_told(tmp_path: Path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(StorageError, match="in the way"):
        build().save_pretrained(tmp_path / "file")


def test_it_loads_and_acts_without_environments_and_training_code(saved: Path):
    code = (
        "import sys\n"
        "from heredity.policies import Policy\n"
        f"policy = Policy.from_pretrained({str(saved)!r})\n"
        "print(policy.predict([0.1, 0.2])[0])\n"
        "rooms = ('environments', 'training', 'algorithms')\n"
        "ours = [name.split('.') for name in sys.modules if name.startswith('heredity.')]\n"
        "print([name for name in ours if name[1] in rooms])\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    action, modules = done.stdout.split("\n")[:2]
    assert int(action) == Policy.from_pretrained(saved).predict([0.1, 0.2])[0]
    assert modules == "[]"


def test_changed_weights_are_said_to_be_changed(policy: Policy, tmp_path: Path):
    params = unflatten({**flatten(policy.params), "actor/output/bias": np.ones(3, np.float32)})
    changed = Policy(policy.spec, params, policy.lineage)
    changed.save_pretrained(tmp_path / "changed")
    again = Policy.from_pretrained(tmp_path / "changed")
    *before, edit = again.lineage.entries
    assert tuple(before) == policy.lineage.entries
    assert (edit.operation, edit.hash, edit.parent) == (
        "edit", changed.policy_hash, policy.policy_hash,
    )  # fmt: skip
    assert (edit.step, edit.run, edit.score) == (4096, "run-1", None)
    card = (tmp_path / "changed" / "README.md").read_text()
    assert changed.policy_hash in card and "Return" not in card
    again.save_pretrained(tmp_path / "again")  # nothing more was done to them
    assert Policy.from_pretrained(tmp_path / "again").lineage == again.lineage


def test_a_policy_may_come_without_a_history(policy: Policy, tmp_path: Path):
    Policy(policy.spec, policy.params).save_pretrained(tmp_path / "bare")
    assert Policy.from_pretrained(tmp_path / "bare").lineage.entries == ()


# --- torn and altered -----------------------------------------------------------------------------


@pytest.mark.parametrize("name", FILES)
def test_altered_bytes_are_refused(saved: Path, name: str):
    path = saved / name
    data = path.read_bytes()
    draw = random.Random(name)
    every = range(len(data)) if len(data) < 400 else draw.sample(range(len(data)), 400)
    passed = []
    for position in every:
        other = draw.choice([data[position] ^ (1 << draw.randrange(8)), *b"\r\n \0\xff"])
        if other == data[position]:
            continue
        path.write_bytes(data[:position] + bytes([other]) + data[position + 1 :])
        try:
            load_policy(saved)
        except RefusedError as error:
            assert name in str(error), (position, str(error))
        else:
            passed.append((position, data[position], other))
    assert passed == []
    path.write_bytes(data)
    load_policy(saved)


@pytest.mark.parametrize("name", FILES)
def test_truncated_and_grown_files_are_refused(saved: Path, name: str):
    path = saved / name
    data = path.read_bytes()
    for length in sorted({0, 1, 8, len(data) - 1, *random.Random(0).sample(range(len(data)), 40)}):
        path.write_bytes(data[:length])
        refused(saved, name)
    path.write_bytes(data + b"\n")
    refused(saved, name)


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_named(saved: Path, name: str):
    (saved / name).unlink()
    assert f"{saved / name}: is missing" in refused(saved)
    (saved / name).mkdir()
    refused(saved, name)


def test_without_a_card_it_is_still_a_policy(saved: Path):
    (saved / "README.md").unlink()
    Policy.from_pretrained(saved)


@pytest.mark.parametrize(
    ("name", "width"),
    # Of equal widths, config.json is equal too.
    [(name, width) for name in FILES for width in (4, 5) if (name, width) != ("config.json", 4)],
)
def test_a_file_of_another_policy_is_refused(saved: Path, tmp_path: Path, name: str, width: int):
    build(1, width).save_pretrained(tmp_path / "other")
    shutil.copy(tmp_path / "other" / name, saved / name)
    refused(saved, str(saved))


def test_no_folder_and_a_checkpoint_folder_are_told(saved: Path, tmp_path: Path):
    assert "no such folder" in refused(tmp_path / "absent")
    (tmp_path / "checkpoint").mkdir()
    shutil.copytree(saved, tmp_path / "checkpoint" / "policy")
    assert f"Did you mean {tmp_path / 'checkpoint'}/policy?" in refused(tmp_path / "checkpoint")


@pytest.mark.parametrize("name", ["config.json", "lineage.json"])
@pytest.mark.parametrize("sealed", [True, False])
def test_the_future_is_refused(saved: Path, name: str, sealed: bool):
    value = {**read(saved / name), "schema_version": 3}
    (saved / name).write_text(seal_json(value) if sealed else dump_json(value))
    told = refused(saved, name)
    assert "schema_version 3" in told and "Upgrade heredity" in told


# --- made to look whole ---------------------------------------------------------------------------


def put(*path: str, value: object) -> Callable[[dict[str, Any]], Any]:
    def change(record: dict[str, Any]) -> None:
        for name in path[:-1]:
            record = record[name]
        record[path[-1]] = value

    return change


def nested(depth: int) -> dict[str, Any]:
    space: dict[str, Any] = {"type": "discrete", "n": 2, "start": 0, "names": []}
    for _ in range(depth):
        space = {"type": "dict", "spaces": {"a": space}}
    return space


CONFIGS = {
    "another format": put("format", value="other"),
    "no actor": lambda record: record.pop("actor"),
    "actor is a list": put("actor", value=[]),
    "unknown network": put("actor", "kind", value="os.system"),
    "unknown activation": put("actor", "activation", value="relu7"),
    "activation is a list": put("actor", "activation", value=["relu"]),
    "unknown option": put("actor", "command", value="rm -rf /"),
    "no hidden": put("actor", "hidden", value=None),
    "huge hidden": put("actor", "hidden", value=[10**12]),
    "huger hidden": put("actor", "hidden", value=[10**30]),
    "negative hidden": put("actor", "hidden", value=[-4]),
    "float hidden": put("actor", "hidden", value=[4.0]),
    "text hidden": put("actor", "hidden", value="44"),
    "wide hidden": put("actor", "hidden", value=[8]),
    "critic gone": put("critic", value=None),
    "critic text": put("critic", value="mlp"),
    "unknown distribution": put("distribution", "kind", value="cauchy"),
    "distribution option": put("distribution", "pickle", value="x"),
    "distribution of another space": put("distribution", "kind", value="normal"),
    "distribution list": put("distribution", value=[]),
    "huge box": put("observation_space", "shape", value=[10**15]),
    "huger box": put("observation_space", "shape", value=[10**15, 10**15, 2]),
    "negative box": put("observation_space", "shape", value=[-2]),
    "float box": put("observation_space", "shape", value=[2.5]),
    "unknown dtype": put("observation_space", "dtype", value="object"),
    "no dtype": put("observation_space", "dtype", value="no-such"),
    "dtype of commas": put("observation_space", "dtype", value=","),
    "dtype of digits": put("observation_space", "dtype", value="9" * 5000),
    "dtype null": put("observation_space", "dtype", value=None),
    "wide dtype": put("observation_space", "dtype", value="longdouble"),
    "complex dtype": put("observation_space", "dtype", value="complex64"),
    "text dtype": put("observation_space", "dtype", value="U"),
    "dtype of fields": put("observation_space", "dtype", value="f4,f4"),
    "bound of text": put("observation_space", "low", value="low"),
    "bound of huge number": put("observation_space", "low", value=10**400),
    "symbolic": put("observation_space", "shape", value=[{"dim": "nodes"}]),
    "dim of dims": put("observation_space", "shape", value=[{"dim": {"dim": 1}}]),
    "unknown space": put("action_space", "type", value="__import__"),
    "space is text": put("action_space", value="Discrete(3)"),
    "no actions": put("action_space", "n", value=0),
    "huge actions": put("action_space", "n", value=10**30),
    "deep space": put("observation_space", value=nested(300)),
    "preprocessing gone": lambda record: record.pop("preprocessing"),
    "clip is a list": put("preprocessing", "observation_clip", value=[]),
    "clip is a text": put("preprocessing", "observation_clip", value="nan"),
    "clip is zero": put("preprocessing", "observation_clip", value=0),
    "clip is negative": put("preprocessing", "observation_clip", value=-1.0),
    "clip is huge": put("preprocessing", "observation_clip", value=10**400),
    "clip is true": put("preprocessing", "observation_clip", value=True),
    "normalize is a text": put("preprocessing", "normalize_observations", value="false"),
    "deviation is a text": put("distribution", "initial_std", value="nan"),
    "deviation is zero": put("distribution", "initial_std", value=0.0),
    "deviation is negative": put("distribution", "initial_std", value=-1),
    "environment without id": put("environment", value={"options": {}}),
    "environment is text": put("environment", value="brax/ant"),
    "environment options": put("environment", "options", value=["os.system"]),
}


@pytest.mark.parametrize("name", CONFIGS)
def test_a_forged_config_is_refused(saved: Path, name: str):
    reseal(saved, "config.json", CONFIGS[name])
    refused(saved, "config.json")


def test_a_network_by_import_path_is_not_imported(saved: Path):
    reseal(saved, "config.json", put("actor", "kind", value="os:system"))
    with pytest.raises(UntrustedError, match="--trust os:system"):
        Policy.from_pretrained(saved)


LINEAGES = {
    "entries gone": lambda record: record.pop("entries"),
    "entries is text": put("entries", value="abc"),
    "entry is text": put("entries", value=["abc"]),
    "unknown field": lambda record: record["entries"][0].update(code="x"),
    "no step": lambda record: record["entries"][0].pop("step"),
    "step is text": lambda record: record["entries"][0].update(step="1"),
    "hash is a number": lambda record: record["entries"][0].update(hash=1),
    "score is text": lambda record: record["entries"][0].update(score="good"),
    "score is empty": lambda record: record["entries"][0].update(score={}),
    "score of text": lambda record: record["entries"][1]["score"].update(mean_return="12"),
    "arguments is a list": lambda record: record["entries"][0].update(arguments=[]),
    "no hashes": lambda record: record.pop("files"),
    "empty hashes": put("files", value={}),
    "hashes is a list": put("files", value=["config.json"]),
    "hash is none": lambda record: record["files"].update({"config.json": None}),
    "hash elsewhere": lambda record: record["files"].update({"../../etc/passwd": "0"}),
    "a history of other weights": lambda record: record["entries"][-1].update(hash="e" * 64),
    "a history cut short": lambda record: record["entries"].pop(),
    "another policy_hash": put("policy_hash", value="0" * 64),
    "no policy_hash": lambda record: record.pop("policy_hash"),
}


@pytest.mark.parametrize("name", LINEAGES)
def test_a_forged_lineage_is_refused(saved: Path, name: str):
    value = read(saved / "lineage.json")
    LINEAGES[name](value)
    (saved / "lineage.json").write_text(seal_json(value))
    refused(saved, "lineage.json")


def header(tensors: dict[str, Any], data: bytes) -> bytes:
    text = json.dumps({"__metadata__": {"format": "heredity.policy"}, **tensors}).encode()
    return struct.pack("<Q", len(text)) + text + data


def entry(start: int, stop: int, dtype: str = "F32") -> dict[str, Any]:
    return {"dtype": dtype, "shape": [1], "data_offsets": [start, stop]}


WEIGHTS = {
    "a pickle": b"\x80\x04\x8c\x02os\x94\x8c\x06system\x94\x93\x94\x8c\x04true\x94\x85\x94R\x94.",
    "empty name": header({"": entry(0, 4)}, bytes(4)),
    "empty part": header({"actor//w": entry(0, 4)}, bytes(4)),
    "leaf and folder": header({"a": entry(0, 4), "a/b": entry(4, 8)}, bytes(8)),
    "path out": header({"../../w": entry(0, 4)}, bytes(4)),
    "strange dtype": header({"a": entry(0, 1, "F8_E5M2")}, bytes(1)),
    "another format": tensor_bytes({"a": np.zeros(1)}, {"format": "other"}),
    "no metadata": tensor_bytes({"a": np.zeros(1)}, {}),
    "nothing": header({}, b""),
}


@pytest.mark.parametrize("name", WEIGHTS)
def test_forged_weights_are_refused(saved: Path, name: str):
    (saved / "model.safetensors").write_bytes(WEIGHTS[name])
    rehash(saved)
    refused(saved, "model.safetensors")


def test_moved_weights_with_new_hashes_are_still_not_those_of_the_lineage(saved: Path):
    leaves, metadata = read_tensors(saved / "model.safetensors")
    leaves["actor/output/bias"] = leaves["actor/output/bias"] + 1
    (saved / "model.safetensors").write_bytes(tensor_bytes(leaves, metadata))
    rehash(saved)
    assert "lineage.json speaks of" in refused(saved, "model.safetensors")


def test_an_environment_of_ones_own_is_remembered_but_never_made(saved: Path, tmp_path: Path):
    # Naming code in a file runs none of it: not at loading, not at acting.
    proof = tmp_path / "ran"
    options = {"command": f"touch {proof}"}
    change = put("environment", value={"id": "os:system", "options": options})
    reseal(saved, "config.json", change)
    policy = Policy.from_pretrained(saved)
    policy.predict([0.0, 0.0])
    assert policy.spec.environment == {"id": "os:system", "options": options}
    assert not proof.exists()
