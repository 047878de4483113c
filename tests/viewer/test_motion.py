import dataclasses

import numpy as np
import pytest
from viewer_runs import ant_recording, signal_recording

from heredity.common.errors import UsageError
from heredity.viewer.motion import QUANTUM, motion_of, shown_steps


def test_a_fast_recording_is_thinned_to_thirty_frames_a_second():
    steps = shown_steps(1000, 0.005)
    assert steps[1] - steps[0] == 7  # 1 / 30 s is 6.67 steps: never more than 30 a second
    assert steps[0] == 0


def test_a_recording_of_exactly_thirty_a_second_is_kept_whole():
    assert len(shown_steps(100, 1 / 30)) == 100


def test_only_the_first_seconds_are_shown_and_said_to_be():
    recording = ant_recording(1.0, steps=1000)
    motion = motion_of(recording)
    assert motion.frames * motion.seconds_per_frame == pytest.approx(20.0, abs=0.1)
    assert motion.cut == "first 20 s of 50 s"
    assert motion_of(recording, max_seconds=np.inf).frames == 1000


def test_the_tracked_body_stays_in_the_middle_of_the_picture():
    recording = ant_recording(1.0)
    assert recording.positions is not None
    motion = motion_of(recording)
    assert np.abs(recording.positions[:, 0, :2]).max() > 20.0
    assert np.abs(motion.positions[:, 0, :2]).max() < 1.0
    # What was taken from the bodies is told to the floor: together they are the truth again.
    rebuilt = motion.positions[:, :, :2] + motion.anchors[:, None]
    np.testing.assert_allclose(rebuilt, recording.positions[:, :, :2], atol=QUANTUM)


def test_without_a_tracked_body_nothing_moves_but_the_bodies():
    recording = ant_recording(1.0)
    assert recording.scene is not None
    still = dataclasses.replace(
        recording, scene=dataclasses.replace(recording.scene, tracked_body=-1)
    )
    assert not motion_of(still).anchors.any()


def test_a_diverged_simulation_is_shown_until_it_diverges():
    recording = ant_recording(0.5, steps=50)
    assert recording.positions is not None
    recording.positions[20:, 3] = np.nan
    motion = motion_of(recording)
    assert motion.frames == 20
    assert "step 20" in motion.cut
    recording.positions[:] = np.nan
    with pytest.raises(UsageError, match="finite"):
        motion_of(recording)


def test_a_single_pose_is_a_motion():
    assert motion_of(ant_recording(0.5, steps=1)).frames == 1


@pytest.mark.parametrize("seconds", [0.0, -1.0, float("nan"), float("inf"), "0.1", None])
def test_a_time_step_that_is_none_is_refused(seconds: object):
    recording = dataclasses.replace(ant_recording(0.5, steps=5), step_seconds=seconds)
    with pytest.raises(UsageError, match="step_seconds"):
        motion_of(recording)


def test_poses_that_do_not_fit_the_scene_are_refused():
    recording = ant_recording(0.5, steps=5)
    assert recording.positions is not None
    fewer = dataclasses.replace(recording, positions=recording.positions[:, :4])
    with pytest.raises(UsageError, match=r"9 bodies"):
        motion_of(fewer)
    with pytest.raises(UsageError, match="no scene"):
        motion_of(signal_recording(0.5))
