import dataclasses
import errno
import json
import os
import random
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from tiny_runs import CONFIG, environment, final_bytes, resume, train

from heredity.common.errors import (
    HeredityError,
    MismatchError,
    RefusedError,
    StorageError,
    UsageError,
)
from heredity.common.files import REPLACED_PREFIX, TEMPORARY_PREFIX, seal_json
from heredity.common.run_folder import RunFolder
from heredity.policies import Policy
from heredity.training.checkpoints import (
    newest_whole_checkpoint,
    point_links,
    read_checkpoint,
    retire_checkpoints,
    verify_checkpoint,
    write_checkpoint,
)

FILES = (
    "policy/config.json",
    "policy/model.safetensors",
    "policy/lineage.json",
    "policy/README.md",
    "training_state/state.safetensors",
    "training_state/manifest.json",
)


@pytest.fixture
def place(run: Path) -> Path:
    """The newest checkpoint of a run."""
    return RunFolder(run).checkpoint(768)


# --- reading --------------------------------------------------------------------------------------


def test_round_trip(place: Path, tmp_path: Path):
    checkpoint = read_checkpoint(place)
    assert (checkpoint.step, checkpoint.lineage.entries[-1].step) == (768, 768)
    assert checkpoint.notes["exactness"] == {"exact": True, "reason": ""}
    notes = {n: v for n, v in checkpoint.notes.items() if n not in ("versions", "numerics")}
    again = RunFolder(tmp_path / "again")
    again.root.mkdir()
    again.config.touch()
    write_checkpoint(again, dataclasses.replace(checkpoint, notes=notes))
    for name in FILES:
        assert (again.checkpoint(768) / name).read_bytes() == (place / name).read_bytes()
    assert os.readlink(again.checkpoints / "last") == "000000000768"


def test_the_manifest_names_what_a_result_was_made_with(place: Path):
    manifest = verify_checkpoint(place)
    assert set(manifest["files"]) == set(FILES) - {"training_state/manifest.json"}
    assert {"jax", "numpy", "python", "heredity"} <= set(manifest["versions"]) | {"heredity"}
    assert {"backend", "prng_implementation", "xla_flags", "processor", "processors"} <= set(
        manifest["numerics"]
    )
    assert manifest["best"]["step"] <= 768


@pytest.mark.parametrize("name", FILES)
def test_every_file_is_checked(place: Path, name: str):
    path, draw = place / name, random.Random(name)
    data = path.read_bytes()
    for position in draw.sample(range(len(data)), 60):
        other = draw.choice([data[position] ^ (1 << draw.randrange(8)), *b"\r\n \0"])
        if other == data[position]:
            continue
        path.write_bytes(data[:position] + bytes([other]) + data[position + 1 :])
        with pytest.raises(RefusedError) as raised:
            read_checkpoint(place)
        assert name in str(raised.value)
    for length in (0, 1, len(data) // 2, len(data) - 1):
        path.write_bytes(data[:length])
        with pytest.raises(RefusedError, match=name):
            read_checkpoint(place)
    path.unlink()
    with pytest.raises(RefusedError, match=f"{name}: is missing"):
        read_checkpoint(place)


# Their config.json is the same.
@pytest.mark.parametrize("name", FILES[1:])
def test_files_of_two_checkpoints_do_not_mix(run: Path, place: Path, name: str):
    other = RunFolder(run).checkpoint(640)
    shutil.copy(other / name, place / name)
    with pytest.raises(RefusedError, match=str(place)):
        read_checkpoint(place)


@pytest.mark.parametrize(
    "change",
    [
        {"schema_version": 3},
        {"shared": None},
        {"shared": {"../../../etc/shadow": "0"}},
        {"shared": {"/etc/shadow": "0"}},
        {"files": {}},
        {"files": ["policy/config.json"]},
        {"files": {"training_state/state.safetensors": None}},
        {"files": {"training_state/state.safetensors": "0", "../../../etc/shadow": "0"}},
        {"step": "768"},
        {"run": 7},
        {"exactness": None},
        {"frozen": ["**"]},
        {"best": "best"},
        {"elapsed": "long"},
        {"versions": None},
    ],
    ids=str,
)
def test_a_forged_manifest_is_refused(place: Path, change: dict):
    path = place / "training_state" / "manifest.json"
    manifest = json.loads(path.read_text())
    path.write_text(seal_json({**manifest, **change}))
    with pytest.raises(RefusedError):
        read_checkpoint(place)


def test_the_newest_whole_one_is_found(run: Path):
    folder = RunFolder(run)
    newest, refused = newest_whole_checkpoint(folder)
    assert newest is not None and newest.step == 768 and refused == []
    (folder.checkpoint(768) / "policy" / "model.safetensors").write_bytes(b"")
    shutil.rmtree(folder.checkpoint(640) / "training_state")
    newest, refused = newest_whole_checkpoint(folder)
    assert newest is not None and newest.step < 640
    assert ["model.safetensors" in str(refused[0]), "manifest.json" in str(refused[1])] == [
        True
    ] * 2
    shutil.rmtree(folder.checkpoints)
    assert newest_whole_checkpoint(folder) == (None, [])


def test_what_is_no_step_is_no_checkpoint(run: Path):
    folder = RunFolder(run)
    before = folder.checkpoint_steps()
    for name in ("last.refused", "12", "notes", f"{TEMPORARY_PREFIX}000000009999", "00000000099x"):
        (folder.checkpoints / name).mkdir()
    (folder.checkpoints / "000000000001").write_text("a file")
    assert folder.checkpoint_steps() == before
    resume(run, total_timesteps=832)
    assert not (folder.checkpoints / f"{TEMPORARY_PREFIX}000000009999").exists()


def test_a_state_of_another_configuration_is_refused(run: Path):
    config = json.loads((run / "config.json").read_text())
    for change, told in (
        ({"network": {"hidden": [9]}}, "another than config.json describes"),
        ({"num_envs": 8, "num_steps": 8}, "does not fit"),
    ):
        settings = {**config["settings"], **change}
        (run / "config.json").write_text(seal_json({**config, "settings": settings}))
        with pytest.raises(MismatchError, match=told):
            resume(run, total_timesteps=1024)
    # And what was refused is still there, to be gone on with as it was.
    (run / "config.json").write_text(seal_json(config))
    assert RunFolder(run).checkpoint_steps()[-1] == 768


def test_a_checkpoint_of_another_run_is_refused(
    run: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    train(tmp_path / "other", 832)
    folder, other = RunFolder(run), RunFolder(tmp_path / "other")
    shutil.copytree(other.checkpoint(832), folder.checkpoint(832))
    resume(run, total_timesteps=896)
    strange, own = (one.read_config()["run_id"] for one in (other, folder))
    assert f"000000000832: belongs to the run {strange}, this folder holds {own}" in caplog.text
    assert read_checkpoint(folder.checkpoint(896)).run == own
    assert len(list(folder.checkpoints.glob("000000000832.refused-*"))) == 1


# --- links ----------------------------------------------------------------------------------------


def test_links_never_dangle(run: Path):
    """As after a kill at any moment: with no link, an old one, or one to what is not there."""
    folder = RunFolder(run)
    best = read_checkpoint(folder.checkpoint(768)).notes["best"]
    for name in ("last", "best"):
        (folder.checkpoints / name).unlink()
    point_links(folder, 768, best)
    assert os.readlink(folder.checkpoints / "best") == f"{best['step']:012d}"
    assert os.readlink(folder.checkpoints / "last") == "000000000768"
    point_links(folder, 768, {"step": 12345, "mean": 0.0})
    assert not (folder.checkpoints / "best").is_symlink()
    (folder.checkpoints / "best").symlink_to("000000012345")
    resume(run, total_timesteps=832, evaluation_episodes=0)
    assert read_checkpoint(folder.checkpoints / "best").step == best["step"]


def test_a_best_one_that_is_refused_is_pointed_to_no_longer(run: Path):
    folder = RunFolder(run)
    path = folder.checkpoint(768) / "training_state" / "manifest.json"
    folder.checkpoints.joinpath("best").unlink()
    folder.checkpoints.joinpath("best").symlink_to("000000000768")
    path.write_text("{")
    resume(run, total_timesteps=704, evaluation_episodes=0)
    link = folder.checkpoints / "best"
    assert not link.is_symlink() or verify_checkpoint(link)


def test_a_checkpoint_that_was_being_replaced_is_given_back(run: Path):
    folder = RunFolder(run)
    before = final_bytes(run, 768)
    folder.checkpoint(768).rename(folder.checkpoints / f"{REPLACED_PREFIX}000000000768")
    with pytest.raises(UsageError, match="is at step 768 of 768"):
        resume(run)
    assert final_bytes(run, 768) == before


# --- retiring -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("last", "best", "every", "kept"),
    [
        (1, None, None, [900]),
        (3, None, None, [700, 800, 900]),
        (1, 200, None, [200, 900]),
        (1, None, 300, [0, 300, 600, 900]),
        (1, None, 250, [0, 300, 500, 800, 900]),
        (2, 100, 10_000, [0, 100, 800, 900]),
        (99, None, None, list(range(0, 1000, 100))),
    ],
)
def test_retiring(tmp_path: Path, last: int, best: int | None, every: int | None, kept: list[int]):
    folder = RunFolder(tmp_path)
    for step in range(0, 1000, 100):
        folder.checkpoint(step).mkdir(parents=True)
    retire_checkpoints(folder, last, best, every)
    assert folder.checkpoint_steps() == kept
    assert len(list(folder.checkpoints.iterdir())) == len(kept)


# --- exact resume ---------------------------------------------------------------------------------

EXACT = {
    "linear": (
        {"learning_rate_schedule": "linear", "clip_range_schedule": "linear", "num_epochs": 2},
        [200],
    ),
    "adaptive": (
        {"learning_rate_schedule": "adaptive_kl", "freeze": ("actor/hidden_0/**",)},
        [64, 500],
    ),
}


@pytest.mark.parametrize("host", [False, True], ids=["jax", "host"])
@pytest.mark.parametrize("name", EXACT)
def test_two_halves_are_the_whole(tmp_path: Path, name: str, host: bool):
    change, cuts = EXACT[name]
    config = dataclasses.replace(CONFIG, **change)
    env = {"env": environment(host=host), "config": config}
    train(tmp_path / "whole", 768, **env, checkpoint_every=1000)
    # Another end, another cadence of everything, another number of stretches.
    env["env"] = environment(host=host)
    train(
        tmp_path / "parts", cuts[0], **env, schedule_timesteps=768, checkpoint_every=64,
        evaluate_every=100, log_every=64, snapshot_every=150, keep_last=5,
    )  # fmt: skip
    for total in [*cuts[1:], 768]:
        resume(tmp_path / "parts", total_timesteps=total, evaluation_episodes=0)
    assert final_bytes(tmp_path / "parts", 768) == final_bytes(tmp_path / "whole", 768)
    last = read_checkpoint(RunFolder(tmp_path / "parts").checkpoint(768))
    assert last.notes["exactness"] == {"exact": True, "reason": ""}
    resumes = [entry for entry in last.lineage.entries if entry.operation == "resume"]
    assert [entry.arguments["exact"] for entry in resumes] == [True] * len(cuts)
    assert resumes[0].hash == resumes[0].parent


def test_another_environment_is_told_recorded_and_kept(run: Path, caplog):
    other = environment(length=7)
    assert other.spec is not None
    resume(run, total_timesteps=832, env=other)
    assert "in another environment than it began in" in caplog.text
    policy = Policy.from_pretrained(RunFolder(run).checkpoint(832) / "policy")
    entry = next(e for e in reversed(policy.lineage.entries) if e.operation == "resume")
    assert entry.arguments["environment"] == other.spec.to_json()
    assert entry.arguments["exact"] is False
    assert policy.spec.environment == other.spec.to_json()
    assert RunFolder(run).read_config(sealed=True)["environment"] == other.spec.to_json()
    caplog.clear()
    resume(run, total_timesteps=896)  # the environment is now that of the run
    assert "another environment" not in caplog.text


def test_the_same_environment_may_be_given(run: Path, caplog):
    resume(run, total_timesteps=832, env=environment())
    assert "not exact" not in caplog.text


def test_what_changes_numbers_is_told(run: Path, caplog: pytest.LogCaptureFixture):
    path = RunFolder(run).checkpoint(768) / "training_state" / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest.pop("sha256")
    manifest["versions"]["jax"] = "0.0.1"
    manifest["versions"]["heredity"] = "0.0.0"
    manifest["numerics"]["xla_flags"] = "--xla_odd=1"
    manifest["numerics"]["processors"] = "1000"
    path.write_text(seal_json(manifest))
    resume(run, total_timesteps=832)
    assert "this resume is not exact: " in caplog.text
    for told in (
        f"xla_flags was --xla_odd=1, is {os.environ['XLA_FLAGS']}",
        "jax was 0.0.1", "heredity was 0.0.0",
        "processors was 1000",
    ):  # fmt: skip
        assert told in caplog.text
    now = read_checkpoint(RunFolder(run).checkpoint(832))
    assert now.notes["exactness"]["exact"] is False
    assert "jax was 0.0.1" in now.notes["exactness"]["reason"]
    # Once lost, it stays lost.
    resume(run, total_timesteps=896)
    last = read_checkpoint(RunFolder(run).checkpoint(896))
    assert last.notes["exactness"]["exact"] is False
    assert [e.arguments["exact"] for e in last.lineage.entries if e.operation == "resume"] == [
        False, True,
    ]  # fmt: skip


# --- full and read-only disks ---------------------------------------------------------------------


def test_a_disk_that_fills_at_any_moment_costs_no_checkpoint(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Every system call that writes a checkpoint fails once, each in turn."""
    checkpoint = read_checkpoint(RunFolder(run).checkpoint(768))
    notes = {n: v for n, v in checkpoint.notes.items() if n not in ("versions", "numerics")}
    later = dataclasses.replace(checkpoint, step=832, notes=notes)
    folder = RunFolder(run)
    before = folder.checkpoint_steps()
    real = {name: getattr(os, name) for name in ("mkdir", "fsync", "rename", "replace", "symlink")}
    moments = calls = 0

    def counted(name: str):
        def call(*args: object, **kwargs: object) -> object:
            nonlocal calls
            calls += 1
            if calls == moments + 1:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return real[name](*args, **kwargs)

        return call

    while True:
        calls = 0
        with monkeypatch.context() as patched:
            for name in real:
                patched.setattr(os, name, counted(name))
            try:
                write_checkpoint(folder, later)
            except StorageError as error:
                assert "No space left" in str(error) and str(run) in str(error)
            else:
                break
        moments += 1
        for step in before:
            verify_checkpoint(folder.checkpoint(step))
        if folder.checkpoint(832).exists():
            verify_checkpoint(folder.checkpoint(832))
            shutil.rmtree(folder.checkpoint(832))
        assert not [p for p in folder.checkpoints.iterdir() if p.name.startswith(TEMPORARY_PREFIX)]
    assert moments >= 10
    verify_checkpoint(folder.checkpoint(832))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 256 KiB."""
    place = tmp_path / "disk"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=256k", "none", str(place)]
    try:
        done = subprocess.run(command, capture_output=True, text=True)
    except FileNotFoundError:
        pytest.skip("no mount command")
    if done.returncode:
        pytest.skip(f"cannot mount a small file system: {done.stderr.strip()}")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def test_training_on_a_disk_that_fills(small_disk: Path):
    directory = small_disk / "run"
    with pytest.raises(StorageError, match=r"could not be written \(No space left"):
        train(directory, 100_000, snapshot_every=64, checkpoint_every=64, log_every=64)
    folder = RunFolder(directory)
    newest, refused = newest_whole_checkpoint(folder)
    assert newest is not None and refused == []
    shutil.rmtree(folder.snapshots)
    resume(directory, total_timesteps=newest.step + 64, snapshot_every=10**6)
    verify_checkpoint(folder.checkpoint(newest.step + 64))


def test_training_on_a_read_only_disk(small_disk: Path):
    directory = small_disk / "run"
    train(directory, 128, checkpoint_every=64)
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    for again in (
        lambda: resume(directory, total_timesteps=256),
        lambda: train(small_disk / "other", 128),
    ):
        with pytest.raises(HeredityError, match="Read-only file system"):
            again()
    newest, refused = newest_whole_checkpoint(RunFolder(directory))
    assert newest is not None and newest.step == 128 and refused == []
    subprocess.run(["mount", "-o", "remount,rw", str(small_disk)], check=True)
    resume(directory, total_timesteps=256)
    assert np.all(np.isfinite(RunFolder(directory).read_evaluations()["results"]))
