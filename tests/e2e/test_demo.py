"""The demo's world, demonstrator, recording and report."""

import json
import stat

import av
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image

from lerobot.datasets.lerobot_dataset import LeRobotDataset
from rewact import LeRobotDatasetWithReward
from verify.demo import expert, record, report, simulation
from verify.demo.__main__ import main
from verify.demo.expert import Outcome, record_attempt
from verify.demo.pipeline import plan_outcomes
from verify.demo.render import Camera
from verify.demo.report import Prediction
from verify.demo.simulation import PickAndPlace, Scene


class NoCamera:
    """Stands in for the camera where the pictures do not matter: drawing is most of the work."""

    def render(self, world):
        return np.zeros((1, 1, 3), np.uint8)


def attempt(seed, outcome=Outcome.SUCCESS):
    return record_attempt(seed, outcome, NoCamera())


@pytest.fixture(scope="module")
def successes():
    return [attempt(seed) for seed in range(200)]


# the world


@given(x=st.floats(*simulation.WORKSPACE_X), y=st.floats(*simulation.WORKSPACE_Y))
@example(x=simulation.WORKSPACE_X[0], y=simulation.WORKSPACE_Y[0])
@example(x=simulation.WORKSPACE_X[1], y=simulation.WORKSPACE_Y[1])
def test_inverse_kinematics_reaches_the_whole_workspace(x, y):
    tip = simulation.forward_kinematics(simulation.inverse_kinematics(np.array([x, y])))[2]
    np.testing.assert_allclose(tip, [x, y], atol=1e-9)


@pytest.mark.parametrize("outcome", Outcome)
def test_the_arm_reaches_every_point_that_the_demonstrator_plans(outcome, monkeypatch):
    """A point out of reach would be moved in silence, and the command would not be what was planned."""
    planned, solve = [], expert.inverse_kinematics
    monkeypatch.setattr(expert, "inverse_kinematics", lambda tip: planned.append(tip.copy()) or solve(tip))
    for seed in range(100):
        attempt(seed, outcome)
    reached = [simulation.forward_kinematics(solve(tip))[2] for tip in planned]
    np.testing.assert_allclose(reached, planned, atol=1e-9)


def test_a_point_out_of_reach_is_approached():
    tip = simulation.forward_kinematics(simulation.inverse_kinematics(np.array([5.0, 0.02])))[2]
    assert np.isfinite(tip).all() and tip[0] == pytest.approx(0.69, abs=0.01)


@settings(max_examples=30)
@given(seed=st.integers(0, 2**32), commands=st.lists(st.tuples(*[st.floats(-4, 4)] * 3), max_size=30))
def test_progress_stays_in_range_whatever_is_commanded(seed, commands):
    world = PickAndPlace(Scene.random(np.random.default_rng(seed)))
    for command in commands:
        world.step(np.array(command))
        assert 0.0 <= world.progress <= 1.0
        assert world.block[1] >= simulation.BLOCK_SIZE / 2 - 1e-9 or world.held


def test_progress_needs_the_block_and_not_the_arms_motion():
    """The whole movement with the gripper open from start to end carries nothing, and is worth nothing."""
    rng = np.random.default_rng(3)
    world = PickAndPlace(Scene.random(rng))
    for command in expert.Demonstrator(world.scene, rng).commands():
        world.step(np.array([*command[:2], 1.0]))
    assert not world.success and world.progress < 0.1


def test_a_released_block_falls_to_the_table():
    world = PickAndPlace(Scene(block_x=0.5, tray_x=0.2, tip=(0.5, simulation.BLOCK_SIZE / 2), opening=1.0))
    closed, lifted = (
        np.array([*simulation.inverse_kinematics(np.array(tip)), 0.2]) for tip in ((0.5, 0.0425), (0.5, 0.3))
    )
    for command in [closed] * 5 + [lifted] * 8:
        world.step(command)
    assert world.held and world.block[1] > 0.25
    before = world.progress
    for _ in range(8):
        world.step(np.array([*lifted[:2], 1.0]))
    assert not world.held and world.block[1] == pytest.approx(simulation.BLOCK_SIZE / 2)
    assert world.progress < before


# the demonstrator


def test_the_demonstrator_always_succeeds(successes):
    assert all(episode.success for episode in successes)


def test_progress_of_a_success_goes_from_0_to_1_and_never_back(successes):
    for episode in successes:
        assert episode.progress[0] == 0.0 and episode.progress[-1] == 1.0
        assert (np.diff(episode.progress) >= 0).all()


def test_progress_is_not_elapsed_time(successes):
    """Equal progress is reached at very different times: hesitation, detours and speed vary."""
    assert min(map(len, successes)) >= 40 and max(map(len, successes)) <= 100
    halfway = [np.argmax(episode.progress >= 0.5) / len(episode) for episode in successes]
    assert max(halfway) - min(halfway) > 0.25
    pauses = [(np.diff(episode.progress) == 0).mean() for episode in successes]
    assert max(pauses) > 0.35


@pytest.mark.parametrize("outcome", [Outcome.MISS, Outcome.DROP])
def test_failures_fail_and_end_low(outcome):
    for seed in range(100):
        episode = attempt(seed, outcome)
        assert not episode.success
        assert episode.progress[-1] < 0.1
        if outcome is Outcome.MISS:
            assert episode.progress.max() <= simulation.REACH[1]
        else:
            assert episode.progress.max() > simulation.CARRY[0]


def test_keypoints_are_few_and_say_the_truth(successes):
    for episode in [*successes[:50], *(attempt(seed, outcome) for seed in range(50) for outcome in Outcome)]:
        frames = list(episode.keypoints)
        assert frames == sorted(frames) and frames[0] == 0 and frames[-1] == len(episode) - 1
        assert len(frames) <= 13
        assert all(episode.progress[frame] == value for frame, value in episode.keypoints.items())


def test_the_same_seed_gives_the_same_attempt():
    first, again, other = record_attempt(5), record_attempt(5), record_attempt(6)
    for name in ("images", "states", "actions", "progress"):
        np.testing.assert_array_equal(getattr(first, name), getattr(again, name))
    assert first.keypoints == again.keypoints
    assert first.images.shape != other.images.shape or (first.images != other.images).any()


def test_the_camera_sees_what_progress_depends_on():
    world = PickAndPlace(Scene(block_x=0.5, tray_x=0.25, tip=(0.36, 0.3), opening=0.5))
    camera = Camera()
    picture = camera.render(world)
    assert picture.shape == (96, 96, 3) and picture.dtype == np.uint8
    red = (picture[..., 0] > 150) & (picture[..., 1] < 110) & (picture[..., 2] < 110)
    assert 40 < red.sum() < 200
    world.opening = 1.0
    assert (camera.render(world) != picture).any()


# the recording

OUTCOMES = [Outcome.SUCCESS, Outcome.MISS, Outcome.DROP]


@pytest.fixture(scope="module")
def recording(tmp_path_factory):
    root = tmp_path_factory.mktemp("demo") / "dataset"
    record.record_dataset(root, OUTCOMES, seed=4)
    return root


def test_the_recording_is_a_lerobot_dataset(recording):
    dataset = LeRobotDataset(record.REPO_ID, root=recording)
    expected = [record_attempt((4, i), outcome) for i, outcome in enumerate(OUTCOMES)]
    assert dataset.num_episodes == 3 and dataset.fps == simulation.FPS
    assert list(dataset.meta.episodes["length"]) == [len(episode) for episode in expected]
    item = dataset[len(expected[0]) + 7]  # a frame of the second episode
    assert int(item["episode_index"]) == 1 and int(item["frame_index"]) == 7
    assert item[record.CAMERA_KEY].shape == (3, 96, 96)
    picture = (item[record.CAMERA_KEY].permute(1, 2, 0) * 255).round().byte().numpy()
    np.testing.assert_array_equal(picture, expected[1].images[7])
    np.testing.assert_array_equal(item[record.STATE_KEY].numpy(), expected[1].states[7])
    np.testing.assert_array_equal(item["action"].numpy(), expected[1].actions[7])


def test_the_recording_carries_keypoint_rewards(recording):
    labelled = LeRobotDatasetWithReward(LeRobotDataset(record.REPO_ID, root=recording))
    for i, outcome in enumerate(OUTCOMES):
        assert labelled.get_episode_keypoints(i) == pytest.approx(record_attempt((4, i), outcome).keypoints)
    labels = np.array([float(labelled[i]["reward"]) for i in range(len(labelled))])
    truth = np.concatenate([truth.progress for truth in record.load_truth(recording)])
    assert np.abs(labels - truth).mean() < 0.05


def test_an_interrupted_recording_is_not_taken_for_whole_and_is_redone(tmp_path, monkeypatch):
    root = tmp_path / "dataset"

    def interrupted(seed, outcome, camera):
        if seed[1] == 1:
            raise KeyboardInterrupt
        return record_attempt(seed, outcome, camera)

    with monkeypatch.context() as patch:
        patch.setattr(record, "record_attempt", interrupted)
        with pytest.raises(KeyboardInterrupt):
            record.record_dataset(root, OUTCOMES[:2], seed=0)
    assert not root.exists()
    record.record_dataset(root, OUTCOMES[:2], seed=0)
    assert LeRobotDataset(record.REPO_ID, root=root).num_episodes == 2
    assert [path.name for path in tmp_path.iterdir()] == ["dataset"]


def test_every_outcome_is_seen_in_training_and_unseen():
    outcomes = plan_outcomes(60)
    assert set(outcomes[:10]) == set(outcomes[-10:]) == set(Outcome)
    assert outcomes.count(Outcome.SUCCESS) == 48


# the report


@pytest.fixture(scope="module")
def predictions():
    rng = np.random.default_rng(0)
    made = []
    for i, outcome in enumerate([Outcome.SUCCESS, Outcome.SUCCESS, Outcome.MISS, Outcome.DROP]):
        episode = record_attempt((9, i), outcome)
        noisy = np.clip(episode.progress + rng.normal(0, 0.05, len(episode)), 0, 1).astype(np.float32)
        made.append(Prediction(20 + i, outcome, episode.images, episode.progress, noisy))
    return made


def test_scores():
    true = np.array([0.0, 0.2, 0.4, 1.0], np.float32)
    images = np.zeros((4, 96, 96, 3), np.uint8)
    good = Prediction(3, Outcome.SUCCESS, images, true, true / 2)
    bad = Prediction(7, Outcome.MISS, images, true * 0.1, np.full(4, 0.5, np.float32))
    scores = report.score([good, bad])
    assert [row["episode"] for row in scores["episodes"]] == [3, 7]
    assert scores["episodes"][0]["spearman"] == pytest.approx(1.0)
    assert scores["episodes"][0]["mae"] == pytest.approx(0.2)
    assert scores["episodes"][1]["spearman"] == 0.0  # no order in a constant
    assert scores["overall"]["success"] == pytest.approx(
        {"episodes": 1, "frames": 4, "spearman": 1.0, "mae": 0.2, "clock_spearman": 1.0}
    )
    assert scores["overall"]["all"]["mae"] == pytest.approx((0.2 + 0.46) / 2)
    json.dumps(scores, allow_nan=False)


@pytest.mark.parametrize("n", [1, 4])
def test_the_figure_is_a_small_png(predictions, tmp_path, n):
    path = tmp_path / "demo.png"
    report.write_figure(path, predictions[:n])
    image = Image.open(path)
    assert image.format == "PNG" and image.width >= 1000
    assert path.stat().st_size < 200 * 1024
    assert list(tmp_path.iterdir()) == [path]


def test_the_video_plays_every_episode(predictions, tmp_path):
    path = tmp_path / "demo.mp4"
    report.write_video(path, predictions[2:3], view_size=160)
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert stream.codec_context.name == "h264" and stream.average_rate == simulation.FPS
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(stream)]
    assert len(frames) == len(predictions[2].true) + simulation.FPS
    assert frames[0].shape == (160, 320, 3)
    view = np.asarray(Image.fromarray(predictions[2].images[30]).resize((160, 160), Image.Resampling.LANCZOS))
    assert np.abs(frames[30][:, :160].astype(int) - view).mean() < 8
    assert list(tmp_path.iterdir()) == [path]


# bad input


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--slow"], "--slow"),
        (["--seed", "-1"], "'-1'"),
        (["--seed", "1.5"], "'1.5'"),
        (["--steps", "0"], "'0'"),
        (["--episodes", "few"], "'few'"),
        (["--output-dir"], "--output-dir"),
    ],
)
def test_wrong_usage_is_one_sentence(arguments, said, capsys):
    with pytest.raises(SystemExit) as exit_:
        main(arguments)
    assert exit_.value.code == 2
    message = capsys.readouterr().err
    assert said in message and message.count("\n") == 1


def test_an_output_folder_that_cannot_be_made(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    with pytest.raises(SystemExit, match="2"):
        main(["--output-dir", str(tmp_path / "file" / "demo")])
    message = capsys.readouterr().err
    assert str(tmp_path / "file" / "demo") in message and message.count("\n") == 1


def test_an_output_folder_that_cannot_be_written(tmp_path, capsys):
    folder = tmp_path / "kept"
    folder.mkdir()
    folder.chmod(stat.S_IRUSR | stat.S_IXUSR)
    try:
        if _may_write_anywhere(folder):
            folder = "/proc/self"  # the superuser is stopped by no permission bits, but by this file system
        with pytest.raises(SystemExit, match="2"):
            main(["--output-dir", str(folder)])
    finally:
        (tmp_path / "kept").chmod(stat.S_IRWXU)
    assert str(folder) in capsys.readouterr().err


def _may_write_anywhere(folder):
    try:
        (folder / "probe").touch()
    except OSError:
        return False
    return True
