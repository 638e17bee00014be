"""Harlow's task: the course of a trial, what the retina sees, the images, and the baselines."""

from __future__ import annotations

import colorsys
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from gadask.config import EnvConfig, Scalar, config_from_dict
from gadask.envs.baselines import play_baseline
from gadask.envs.harlow import CHOICE, CROSS, OUTCOME, Harlow, HarlowLanes
from gadask.envs.harlow_images import N_CELLS, draw_pair
from gadask.errors import ConfigError
from gadask.master.task import prepare_task

LEFT, STAY, RIGHT = 0, 1, 2


def lanes_started(n_lanes: int, **kwargs: Any) -> HarlowLanes:
    lanes = HarlowLanes(n_lanes, retina=16, **kwargs)
    for lane in range(n_lanes):
        lanes.reset(lane, lane)
    return lanes


def play(lanes: HarlowLanes, *actions: int) -> None:
    """Give every lane the same actions."""
    for action in actions:
        lanes.step(np.full(lanes.n_lanes, action))


def test_a_trial_goes_from_the_cross_to_a_choice_to_its_outcome() -> None:
    lanes = lanes_started(1, reach=3, hold=2)
    play(lanes, STAY)
    assert (lanes.phases[0], lanes.rewards[0]) == (CROSS, 0)
    play(lanes, STAY)
    assert (lanes.phases[0], lanes.rewards[0]) == (CHOICE, 0.2)
    play(lanes, RIGHT, RIGHT, RIGHT)
    assert (lanes.gazes[0], lanes.phases[0], lanes.rewards[0]) == (3, CHOICE, 0)
    play(lanes, RIGHT)  # the wall ends here, so that the gaze rests
    assert (lanes.gazes[0], lanes.phases[0]) == (3, OUTCOME)
    assert lanes.rewards[0] in (1, -1)
    assert lanes.trials_correct[0].tolist() == [int(lanes.rewards[0] > 0), -1, -1, -1, -1, -1]
    play(lanes, LEFT)
    assert (lanes.phases[0], lanes.rewards[0]) == (OUTCOME, 0)
    play(lanes, LEFT)
    assert lanes.phases[0] == CROSS
    play(lanes, LEFT, STAY)
    assert (lanes.phases[0], lanes.rewards[0]) == (CHOICE, 0.2)
    assert not lanes.over[0]


def test_the_last_choice_ends_the_episode() -> None:
    lanes = lanes_started(1, reach=1, hold=1, n_trials=2)
    play(lanes, STAY, LEFT, STAY, RIGHT, LEFT)
    assert lanes.over[0]
    assert (lanes.trials_correct[0] >= 0).all()


@pytest.mark.parametrize("interruption", [(LEFT, RIGHT), (RIGHT, LEFT)])
def test_a_gaze_that_leaves_has_to_rest_anew(interruption: tuple[int, int]) -> None:
    lanes = lanes_started(1, hold=3)
    play(lanes, STAY, STAY, *interruption)  # back on the cross for one step
    play(lanes, STAY)
    assert lanes.phases[0] == CROSS
    play(lanes, STAY)
    assert lanes.phases[0] == CHOICE
    play(lanes, LEFT, LEFT, LEFT, LEFT, STAY, RIGHT, LEFT, STAY)
    assert lanes.phases[0] == CHOICE
    play(lanes, STAY)
    assert lanes.phases[0] == OUTCOME


def test_an_idle_policy_runs_out_of_patience() -> None:
    lanes = lanes_started(1, reach=1, patience=9)
    play(lanes, *[LEFT] * 8)
    assert not lanes.over[0]
    play(lanes, LEFT)
    assert lanes.over[0]
    assert (lanes.trials_correct == -1).all()


def test_patience_is_for_each_trial_and_a_choice_in_its_last_step_counts() -> None:
    lanes = lanes_started(1, reach=1, hold=2, patience=8)
    play(lanes, STAY, STAY, LEFT, RIGHT, RIGHT, LEFT, LEFT)  # a glance is no choice
    assert (lanes.phases[0], lanes.trials[0]) == (CHOICE, 0)
    play(lanes, LEFT)
    assert (lanes.phases[0], lanes.trials[0], lanes.over[0]) == (OUTCOME, 1, False)
    play(lanes, *[STAY] * 7)
    assert not lanes.over[0]
    assert lanes.rewards[0] == 0
    play(lanes, STAY)
    assert lanes.over[0]
    assert lanes.trials_correct[0, 1] == -1
    assert lanes.rewards[0] == -5  # for the five trials left


def test_nothing_is_chosen_once_the_episode_is_over() -> None:
    lanes = lanes_started(1, reach=1, hold=2, patience=8)
    play(lanes, STAY, STAY, *[LEFT, RIGHT] * 2, STAY, LEFT)
    assert (lanes.phases[0], lanes.over[0]) == (CHOICE, True)
    play(lanes, STAY, STAY)
    assert lanes.over[0]
    assert (lanes.trials_correct == -1).all()


def test_the_least_patience_is_enough() -> None:
    """To the image of the first choice or the other, by a policy that rests until the cross is back."""
    lanes = lanes_started(1, reach=3, hold=2, patience=12)
    play(lanes, STAY, STAY, RIGHT, RIGHT, RIGHT, STAY)
    for way in (LEFT, RIGHT):
        play(lanes, STAY, STAY, *[way] * 3, STAY, *[way] * 3, STAY)
        assert lanes.phases[0] == OUTCOME
    assert (lanes.trials_correct[0, :3] >= 0).all()


def test_the_wall_tells_the_outcome_behind_the_chosen_image() -> None:
    lanes = lanes_started(40, reach=2, hold=1)
    play(lanes, STAY, LEFT, LEFT)
    assert (lanes.phases == OUTCOME).all()
    won = lanes.rewards > 0
    assert 5 < won.sum() < 35
    frames = lanes.observations.copy()
    frames[:, :, 4:12, 4:12] = np.where(won, 255, 0)[:, None, None, None]
    assert (frames == np.where(won, 255, 0)[:, None, None, None]).all()
    shown = lanes.observations[:, :, 4:12, 4:12]
    left = lanes.left_images[:, 0]
    for lane in range(40):
        np.testing.assert_array_equal(shown[lane], lanes._images[lane, left[lane]])


def test_from_the_cross_the_inner_halves_of_both_images_are_in_view() -> None:
    lanes = lanes_started(20, hold=1)
    play(lanes, STAY)
    for lane, seen in enumerate(lanes.observations):
        left = lanes.left_images[lane, 0]
        np.testing.assert_array_equal(seen[:, 4:12, :4], lanes._images[lane, left][:, :, 4:])
        np.testing.assert_array_equal(seen[:, 4:12, 12:], lanes._images[lane, 1 - left][:, :, :4])
    assert (lanes.observations[:, :, 4:12, 4:12] == 128).all()


def test_the_gaze_shifts_what_is_seen() -> None:
    lanes = lanes_started(1, reach=4)
    middle = lanes.observations[0].copy()
    play(lanes, LEFT)
    np.testing.assert_array_equal(lanes.observations[0][:, :, 2:], middle[:, :, :-2])
    play(lanes, RIGHT, RIGHT)
    np.testing.assert_array_equal(lanes.observations[0][:, :, :-2], middle[:, :, 2:])
    play(lanes, *[LEFT] * 9)
    assert lanes.gazes[0] == -4


def test_nothing_betrays_the_good_image_before_the_first_outcome() -> None:
    """The same episodes with the other image good look the same until the first outcome, which is the opposite."""
    lanes, swapped = lanes_started(10), lanes_started(10)
    swapped._good_images ^= 1
    for action in (STAY, STAY, LEFT, LEFT, LEFT, LEFT):
        np.testing.assert_array_equal(lanes.observations, swapped.observations)
        play(lanes, action)
        play(swapped, action)
    np.testing.assert_array_equal(lanes.observations, swapped.observations)
    play(lanes, STAY)
    play(swapped, STAY)
    np.testing.assert_array_equal(lanes.rewards, -swapped.rewards)
    assert (np.abs(lanes.rewards) == 1).all()


def test_sides_and_good_images_are_balanced_and_independent() -> None:
    lanes = lanes_started(2000)
    good_left = lanes.left_images == lanes._good_images[:, None]
    draws = np.column_stack([good_left, lanes._good_images])
    assert np.abs(draws.mean(axis=0) - 0.5).max() < 4 * 0.5 / np.sqrt(2000)
    assert np.abs(np.corrcoef(draws.T) - np.eye(7)).max() < 4 / np.sqrt(2000)


def test_the_seeds_of_a_pair_are_opposite_tasks() -> None:
    lanes = HarlowLanes(2, retina=16)
    good = []
    for seed in range(0, 60, 2):
        lanes.reset(0, seed)
        lanes.reset(1, seed + 1)
        np.testing.assert_array_equal(lanes.left_images[0], lanes.left_images[1])
        np.testing.assert_array_equal(lanes._images[0], lanes._images[1])
        assert lanes._good_images[0] == 1 - lanes._good_images[1]
        good.append(lanes._good_images[0])
    assert set(good) == {0, 1}


def test_paired_tasks_need_an_environment_that_has_them() -> None:
    table: dict[str, Any] = {
        "env": {"id": "gadask/Harlow-v0", "kwargs": {"retina": 16}},
        "policy": {"kind": "conv-fast-weights"},
        "generation": {"paired_tasks": True, "episodes_per_child": 2},
    }
    assert prepare_task(config_from_dict(table)).paired_tasks
    table["env"], table["policy"] = {"id": "gadask/MetaBandit-v0"}, {"kind": "gru"}
    with pytest.raises(ConfigError, match=r"generation\.paired_tasks: expected an environment .*MetaBandit"):
        prepare_task(config_from_dict(table))


def colours_of(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the different colours of an image, one a row."""
    red, green, blue = image.astype(int).reshape(3, -1)
    codes = np.unique(red << 16 | green << 8 | blue)
    return np.column_stack([codes >> 16, codes >> 8 & 255, codes & 255]).astype(np.uint8)


def hues(image: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Return the hue of each of its colours, in [0, 1)."""
    return np.array([colorsys.rgb_to_hsv(*colour)[0] for colour in colours_of(image) / 255])


def test_training_and_test_images_share_no_colour() -> None:
    colours: dict[str, set[tuple[int, ...]]] = {}
    for image_set, side in (("train", 0), ("test", 1)):
        rng = np.random.default_rng(0)
        pairs = [draw_pair(rng, image_set, 42) for _ in range(300)]
        sectors = np.concatenate([hues(image) for pair in pairs for image in pair]) * 12
        assert (sectors.astype(int) % 2 == side).all()
        assert len(np.unique(sectors.astype(int))) == 6
        assert ((sectors % 1 > 0.05) & (sectors % 1 < 0.95)).all()
        colours[image_set] = {tuple(colour) for pair in pairs for image in pair for colour in colours_of(image)}
    assert not colours["train"] & colours["test"]


@pytest.mark.parametrize("size", [8, 12, 42])
def test_images_are_symmetric_and_a_pairs_hues_far_apart(size: int) -> None:
    rng = np.random.default_rng(1)
    seen = set()
    for _ in range(100):
        pair = draw_pair(rng, "train", size)
        assert pair.shape == (2, 3, size, size)
        if size % N_CELLS == 0:
            np.testing.assert_array_equal(pair, pair[..., ::-1])
        first, second = (hues(image).mean() for image in pair)
        assert 0.25 < abs(first - second) < 0.75
        assert all(len(colours_of(image)) == 2 for image in pair)
        seen |= {image.tobytes() for image in pair}
    assert len(seen) == 200


def test_info_tells_the_trials() -> None:
    env = Harlow(retina=16, reach=1, hold=1, n_trials=2)
    _, info = env.reset(seed=0)
    assert info["trials"].tolist() == [-1, -1]
    env.step(STAY)
    _, reward, _, _, info = env.step(LEFT)
    assert info["trials"].tolist() == [int(reward > 0), -1]
    assert env.reset(seed=0)[1]["trials"].tolist() == [-1, -1]


@pytest.mark.parametrize(
    "kwargs", [{"image_set": "train"}, {"image_set": "test"}, {"retina": 24, "reach": 2, "hold": 3}]
)
def test_baselines_choose_at_chance_and_after_one_look(kwargs: dict[str, Scalar]) -> None:
    config = EnvConfig("gadask/Harlow-v0", {"retina": 16, **kwargs})
    played = {name: play_baseline(name, config, range(400)) for name in ("random", "one-shot")}
    trials = {name: episodes.trials_correct for name, episodes in played.items()}
    random, one_shot = trials["random"], trials["one-shot"]
    assert random is not None
    assert one_shot is not None
    chance = pytest.approx(0.5, abs=4 * 0.5 / np.sqrt(400))
    assert (random >= 0).all()
    assert [random[:, trial].mean() for trial in range(6)] == [chance] * 6
    assert one_shot[:, 0].mean() == chance
    assert (one_shot[:, 1:] == 1).all()
    for name, correct in (("random", random), ("one-shot", one_shot)):
        np.testing.assert_allclose(played[name].returns, (2 * correct - 1.0).sum(axis=1) + 6 * 0.2)
