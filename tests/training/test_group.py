"""Several seeds as one run: folders, events, callbacks, and going on together or alone."""

from __future__ import annotations

import json
import logging
import os
import shutil
import signal
from pathlib import Path

import pytest
from tiny_runs import CONFIG, environment, final_bytes, metrics_steps, resume, train

import heredity as hd
from heredity.common.errors import DivergedError, RefusedError, UsageError
from heredity.common.files import seal_json
from heredity.common.group_folder import GroupFolder
from heredity.training.callbacks import Callback, StopTrainingOnRewardThreshold
from heredity.training.checkpoints import read_checkpoint
from heredity.training.events import Event
from heredity.training.member import over_seeds
from heredity.training.runners import SeedsRunner
from heredity.training.settings import RunSettings
from heredity.training.signals import TrainingInterrupted

SEEDS = (5, 6, 7)
# One length of the schedules, which is part of the program: so that few are compiled.
PLAIN = {"seed": 5, "seeds": 3, "schedule_timesteps": 768}
SETTINGS = {
    **PLAIN, "snapshot_every": 256, "checkpoint_every": 128, "log_every": 128, "keep_last": 3,
}  # fmt: skip


@pytest.fixture(scope="module")
def _whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("group") / "whole"
    train(directory, 768, **SETTINGS)
    return directory


@pytest.fixture
def whole(_whole: Path, tmp_path: Path) -> Path:
    """Three seeds at step 768 of 768."""
    return Path(shutil.copytree(_whole, tmp_path / "whole", symlinks=True))


@pytest.fixture(scope="module")
def expected(_whole: Path) -> dict[int, dict[str, bytes]]:
    return bytes_of(_whole)


def bytes_of(directory: Path, step: int = 768) -> dict[int, dict[str, bytes]]:
    return {seed: final_bytes(directory / f"seed-{seed}", step) for seed in SEEDS}


def steps_of(directory: Path) -> list[list[int]]:
    return [GroupFolder(directory).member(seed).checkpoint_steps() for seed in SEEDS]


class Recorder(Callback):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.rows: list[dict[str, float]] = []
        self.ends: list[int] = []

    def on_event(self, event: Event) -> None:
        self.events.append(event)

    def on_progress(self, step: int, row: dict[str, float]) -> None:
        self.rows.append(row)

    def on_training_end(self, step: int) -> None:
        self.ends.append(step)


# --- what a run of several seeds is ---------------------------------------------------------------


def test_each_seed_is_an_ordinary_run(whole: Path):
    group = GroupFolder(whole)
    record = group.read_config(sealed=True)
    assert record["seeds"] == list(SEEDS) == group.seeds() and record["run"]["seeds"] == 3
    for seed in SEEDS:
        own = group.member(seed).read_config(sealed=True)
        assert (own["run_id"], own["group"]) == (f"{record['run_id']}-{seed}", record["run_id"])
        assert (own["seed"], own["run"]["seed"], own["run"]["seeds"]) == (seed, seed, 1)
        assert "seeds" not in own and own["settings"] == record["settings"]
        folder = group.member(seed)
        assert folder.snapshot_steps() == [0, 256, 512, 768]
        assert metrics_steps(folder.root) == [0, 128, 256, 384, 512, 640, 768]
        assert folder.read_evaluations()["timesteps"].tolist() == [0, 256, 512, 768]
        checkpoint = read_checkpoint(folder.checkpoint(768))
        assert (checkpoint.run, checkpoint.notes["together"]) == (own["run_id"], 3)
        assert checkpoint.notes["exactness"] == {"exact": True, "reason": ""}
        entries = checkpoint.lineage.entries
        assert [entry.operation for entry in entries] == ["train", "checkpoint"]
        assert entries[0].arguments["seed"] == seed
    assert {tuple(steps[-3:]) for steps in steps_of(whole)} == {(512, 640, 768)}
    hashes = {read_checkpoint(group.member(s).checkpoint(768)).lineage.head for s in SEEDS}
    assert len(hashes) == 3


def test_events_come_of_each_seed_in_their_order():
    seen = Recorder()
    events = train(None, 256, seen, **PLAIN, evaluate_every=128)
    told = [(step, seed) for step in (128, 256) for seed in SEEDS]
    assert [(event.step, event.seed) for event in events] == told
    assert [event.seeds for event in seen.events] == [3] * 6 and seen.ends == [256]
    assert len({event.policy.policy_hash for event in events}) == 6
    assert {"rollout/ep_rew_mean", "rollout/ep_rew_mean_low"} <= seen.rows[-1].keys()


def test_a_seed_of_several_learns_what_it_learns_alone():
    same = train(None, 128, **PLAIN)[-2]
    alone = train(None, 128, seed=6, schedule_timesteps=768)[-1]
    assert (same.seed, same.step) == (alone.seed, alone.step) == (6, 128)
    assert same.measured is not None and alone.measured is not None
    assert same.measured.returns.tolist() == alone.measured.returns.tolist()
    for path, leaf in alone.leaves.items():
        assert same.leaves[path] == pytest.approx(leaf, rel=1e-4, abs=1e-5), path


def test_rows_over_seeds():
    rows = [{"a": 1.0, "time/fps": 10.0, "eval/mean_reward": 2.0}, {"a": 3.0, "time/fps": 20.0}]
    assert over_seeds(rows) == {"a": 2.0, "time/fps": 15.0}
    assert over_seeds(rows[:1]) is rows[0]


def test_sinks_of_callbacks_get_one_row_of_all_seeds(tmp_path: Path):
    rows: list[tuple[int, dict[str, float]]] = []

    class Sink:
        def write(self, step: int, row: dict[str, float]) -> None:
            rows.append((step, row))

        def rewind(self, step: int) -> None: ...

        def close(self) -> None:
            rows.append((-1, {}))

    class Sending(Callback):
        def sinks(self, run_id: str, config: dict) -> list[Sink]:
            assert config["seeds"] == list(SEEDS)
            return [Sink()]

    events = train(None, 128, Sending(), **PLAIN, log_every=64, evaluate_every=128)
    assert [step for step, _ in rows] == [64, 128, -1]
    means = [event.evaluation.mean for event in events]
    assert rows[1][1]["eval/mean_reward"] == pytest.approx(sum(means) / 3)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"seeds": 0}, "seeds 0: a whole number >= 1"),
        ({"seeds": 513}, "at most 512"),
        ({"seed": 2**32 - 1, "seeds": 2}, r"below 2\*\*32"),
        ({"seeds": 2, "on_divergence": "rollback"}, "trained together stop together"),
    ],
)
def test_settings_are_checked(settings: dict, told: str):
    with pytest.raises(UsageError, match=told):
        RunSettings(total_timesteps=10, **settings)


def test_environments_on_the_host_take_one_run_for_each_seed(tmp_path: Path):
    with pytest.raises(UsageError, match="only JAX programs"):
        train(tmp_path / "run", 64, env=environment(host=True), seeds=2)
    assert not (tmp_path / "run").exists()


# --- going on -------------------------------------------------------------------------------------


def test_a_resumed_run_is_the_whole_run_bit_for_bit(tmp_path: Path, expected):
    directory = tmp_path / "parts"
    # Kept and looked at at other moments: that touches nothing.
    train(directory, 320, **{**SETTINGS, "snapshot_every": 64, "checkpoint_every": 192})
    assert {event.step for event in resume(directory, total_timesteps=512)} == {384, 448, 512}
    resume(directory, total_timesteps=768)
    assert bytes_of(directory) == expected
    checkpoint = read_checkpoint(GroupFolder(directory).member(6).checkpoint(768))
    assert checkpoint.notes["exactness"]["exact"] is True
    operations = [entry.operation for entry in checkpoint.lineage.entries]
    assert operations == ["train", "checkpoint", "resume", "checkpoint", "resume", "checkpoint"]


@pytest.mark.parametrize("how", ["torn", "gone"])
def test_all_go_on_from_the_newest_step_that_is_whole_in_all(
    whole: Path, how: str, expected, caplog: pytest.LogCaptureFixture
):
    place = GroupFolder(whole).member(6).checkpoint(768)
    if how == "gone":  # as when the process dies between two seeds
        shutil.rmtree(place)
    else:
        state = place / "training_state" / "state.safetensors"
        state.write_bytes(state.read_bytes()[:-1])
    with caplog.at_level(logging.INFO, "heredity"):
        assert {event.step for event in resume(whole)} == {768}
    assert "whole at step 640" in caplog.text
    assert ("refused" in caplog.text) == (how == "torn")
    assert bytes_of(whole) == expected
    assert len(list((whole / "seed-5" / "checkpoints").glob("*.refused-*"))) == 1


def test_killed_amid_the_first_checkpoint_all_begin_again(whole: Path, expected):
    for seed in SEEDS:
        for step in GroupFolder(whole).member(seed).checkpoint_steps():
            if seed == 7 or step != 640:
                shutil.rmtree(GroupFolder(whole).member(seed).checkpoint(step))
    (whole / "seed-6" / "config.json").unlink()  # written after that of the whole run
    resume(whole)
    assert bytes_of(whole) == expected


def test_without_a_common_step_nothing_is_thrown_away(whole: Path):
    shutil.rmtree(whole / "seed-6" / "checkpoints")
    before = steps_of(whole)
    with pytest.raises(
        RefusedError, match=r"no step with a whole checkpoint of every seed \(seed-5"
    ):
        resume(whole, total_timesteps=896)
    assert steps_of(whole) == before


def test_one_seed_goes_on_alone_and_says_so(whole: Path, caplog: pytest.LogCaptureFixture):
    reason = "it was trained in one program of 3 seeds and goes on alone"
    with caplog.at_level(logging.WARNING, "heredity"):
        assert resume(whole / "seed-6", total_timesteps=896)[-1].seed == 6
    assert reason in caplog.text
    last = read_checkpoint(whole / "seed-6" / "checkpoints" / "last")
    assert (last.step, last.notes["exactness"]) == (896, {"exact": False, "reason": reason})
    assert "together" not in last.notes and last.lineage.entries[-2].arguments["exact"] is False
    # A second time it is what it was.
    resume(whole / "seed-6", total_timesteps=960)
    last = read_checkpoint(whole / "seed-6" / "checkpoints" / "last")
    assert last.notes["exactness"]["reason"] == reason
    # Together again, from where all are, the lone steps are set aside.
    resume(whole, total_timesteps=832)
    assert [steps[-1] for steps in steps_of(whole)] == [832] * 3


def test_what_a_seed_was_started_with_is_not_overwritten(whole: Path, caplog):
    config = whole / "seed-6" / "config.json"
    before = config.read_text()
    record = json.loads(before)
    del record["sha256"]
    settings = {**record["settings"], "learning_rate": 0.5}
    for altered, told in [
        (before.replace('"ppo"', '"qqo"', 1), "was altered"),
        (seal_json({**record, "settings": settings}), "has other settings than"),
        (seal_json({**record, "run_id": "elsewhere-6"}), "is of the run elsewhere-6"),
    ]:
        config.write_text(altered)
        with pytest.raises(RefusedError, match=f"seed-6/config.json: .*{told}"):
            resume(whole, total_timesteps=832)
        assert config.read_text() == altered
    config.unlink()
    with caplog.at_level(logging.WARNING):
        resume(whole, total_timesteps=768 + 64)
    assert f"{config} is missing, and written again" in caplog.text
    again = json.loads(config.read_text())
    assert again["settings"] == record["settings"] and again["total_timesteps"] == 832


def test_a_seed_that_is_missing_is_named_and_not_made(whole: Path):
    shutil.rmtree(whole / "seed-6")
    with pytest.raises(RefusedError, match=r"seed-6: is missing: .*the seeds 5, 6, 7"):
        resume(whole, total_timesteps=832)
    assert not (whole / "seed-6").exists()


def test_the_folders_have_one_owner(whole: Path):
    events = hd.resume(whole).run(832, evaluate_every=64)
    next(events)
    with pytest.raises(UsageError, match=rf"seed-6 is in use by process {os.getpid()}"):
        resume(whole / "seed-6", total_timesteps=832)
    events.close()
    assert resume(whole / "seed-6", total_timesteps=896)[-1].step == 896


@pytest.mark.parametrize("name", ["seed", "seeds"])
def test_seeds_stay_what_they_were(whole: Path, name: str):
    with pytest.raises(UsageError, match=f"{name} cannot be changed by a resume"):
        resume(whole, total_timesteps=1024, **{name: 4})


def test_a_finished_run_is_told_what_to_do(whole: Path):
    with pytest.raises(UsageError, match="step 768 of 768: give a larger"):
        resume(whole)


def test_a_directory_with_a_seed_in_it_is_taken(tmp_path: Path):
    (tmp_path / "seed-1" / "checkpoints" / f"{64:012d}").mkdir(parents=True)
    with pytest.raises(UsageError, match="seed-1 has checkpoints or snapshots of another run"):
        train(tmp_path, 64, seeds=2)
    assert not (tmp_path / "config.json").exists()


# --- leaving --------------------------------------------------------------------------------------


def test_a_signal_saves_all_seeds_and_what_is_owed(tmp_path: Path, expected):
    def asked(event: Event) -> None:
        if event.step == 256 and event.seed == 6:
            signal.raise_signal(signal.SIGTERM)

    directory = tmp_path / "run"
    with pytest.raises(TrainingInterrupted, match=f"Go on with: heredity resume {directory}$"):
        train(directory, 768, asked, **{**SETTINGS, "checkpoint_every": 10_000})
    assert [steps[-1] for steps in steps_of(directory)] == [256] * 3
    resume(directory)
    assert bytes_of(directory) == expected
    for seed in SEEDS:
        evaluations = GroupFolder(directory).member(seed).read_evaluations()
        assert evaluations["timesteps"].tolist() == [0, 256, 512, 768]


def test_a_break_saves_all_seeds(tmp_path: Path, expected):
    settings = {**SETTINGS, "checkpoint_every": 10_000}
    for event in hd.PPO(environment(), config=CONFIG, seed=5).run(
        768, tmp_path, evaluation_episodes=2, **{k: v for k, v in settings.items() if k != "seed"}
    ):
        if event.step == 256:
            break  # of the first of three
    assert [steps[-1] for steps in steps_of(tmp_path)] == [256] * 3
    resume(tmp_path)
    assert bytes_of(tmp_path) == expected


def asking(moments: dict[int, int]):
    """A callback that asks each seed to stop at a step of its own, once."""
    return lambda event: moments.get(event.seed) != event.step


def test_a_run_ends_when_each_seed_was_asked_to_stop(tmp_path: Path):
    stop = asking({5: 128, 6: 384, 7: 256})
    settings = {**PLAIN, "evaluate_every": 128, "checkpoint_every": 10_000}
    events = train(tmp_path / "whole", 768, stop, **settings)
    assert [event.step for event in events] == [128] * 3 + [256] * 3 + [384] * 3
    # It is remembered by whoever resumes.
    with pytest.raises(RuntimeError, match="mine"):
        train(tmp_path / "parts", 768, [stop, failing_at(256, 7)], **settings)
    notes = [
        read_checkpoint(GroupFolder(tmp_path / "parts").member(seed).checkpoint(256)).notes
        for seed in SEEDS
    ]
    assert [note["asked"] for note in notes] == [True, False, False]
    events = resume(tmp_path / "parts", asking({6: 512, 7: 384}))
    assert events[-1].step == 512
    # Whoever goes on with a run that was ended by it begins to ask anew.
    assert resume(tmp_path / "parts")[-1].step == 768


def failing_at(step: int, seed: int):
    def fail(event: Event) -> None:
        if (event.step, event.seed) == (step, seed):
            raise RuntimeError("mine")

    return fail


def test_a_threshold_is_reached_when_each_seed_has_reached_it():
    events = train(None, 2048, StopTrainingOnRewardThreshold(-1e9), **PLAIN, evaluate_every=64)
    assert [event.step for event in events] == [64] * 3


def test_what_diverges_is_named_and_nothing_of_it_is_saved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    real = SeedsRunner.iterate

    def iterate(self: SeedsRunner, iterations: int) -> list[dict[str, float]]:
        rows = real(self, 1)
        return [{**row, "finite": float(self.step < 192 or i != 1)} for i, row in enumerate(rows)]

    monkeypatch.setattr(SeedsRunner, "iterate", iterate)
    told = (
        r"^seed 6: a loss, weight, .* is not finite at step 192; .* all seeds is that of step 128"
    )
    with pytest.raises(DivergedError, match=told):
        train(tmp_path, 768, **SETTINGS)
    assert [steps[-1] for steps in steps_of(tmp_path)] == [128] * 3


# --- the facade -----------------------------------------------------------------------------------


def test_policies_are_chosen_by_seed(whole: Path):
    model = hd.PPO(environment(), config=CONFIG, seed=5)
    with pytest.raises(UsageError, match="nothing has been learnt yet"):
        _ = model.policies
    model.learn(128, seeds=3, schedule_timesteps=768, evaluation_episodes=0)
    assert list(model.policies) == list(SEEDS)
    with pytest.raises(UsageError, match=r"5, 6, 7: choose one, such as model\.policies\[5\]"):
        model.predict([0.0])
    saved = hd.resume(whole).policies
    for seed in SEEDS:
        place = GroupFolder(whole).member(seed).checkpoint(768) / "policy" / "lineage.json"
        assert saved[seed].policy_hash == json.loads(place.read_text())["policy_hash"]
    assert list(hd.resume(whole / "seed-7").policies) == [7]
    assert hd.resume(whole / "seed-7").policy.policy_hash == saved[7].policy_hash
