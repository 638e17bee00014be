"""`gadask/Harlow-v0`: Harlow's task, learning within six trials which of two new images is the good one.

After Harlow 1949 and its form in Wang et al. 2018 (*Prefrontal cortex as a meta-reinforcement learning system*). The
policy looks through a square retina at a wall twice as wide and shifts its gaze along it. A trial:

1. A cross hangs in the middle. When the gaze has rested on it for `hold` steps, it gives way to the two images, one on
   either side, and the policy is rewarded `fixation_reward`.
2. When the gaze has rested on one image for `hold` steps, that one is chosen: the reward is 1 if it is the good one and
   −1 if not.
3. For `hold` steps the wall behind the chosen image is white if it was the good one and black if not. A policy sees
   nothing but the wall, so the wall has to tell it the outcome, and to tell it while it sees the image.

The images and which of them is good are drawn when an episode starts, the sides in every trial. An episode ends after
`n_trials` trials, or when `patience` steps have passed since the last choice without another; then `forfeit` is taken
off for each trial left.

Actions: 0 shifts the gaze to the left, 1 keeps it, 2 shifts it to the right; `reach` shifts lead from the cross to an
image, where the wall ends. From the cross the inner half of both images is in view. Observations are what the retina
sees in colour, uint8, shape `(3, retina, retina)`: in grey, and with few pixels, many pairs of images would look alike.

Seeds 2i and 2i + 1 are opposite tasks: the same images on the same sides, and the other one is the good one. Over such
a pair all policies that neither learn nor sample their actions earn the same, whatever images or sides they like. By
luck one would earn up to 5 more or less an episode, much more than the first steps of learning are worth; see
`generation.paired_tasks`.

The measure of success is not the return but how often each trial's choice is right. `fixation_reward` is 0.2 as in Wang
et al., since choosing by chance is worth 0 on average, as much as doing nothing. `forfeit` is 1, as much as a wrong
choice costs; where it was 0, evolution found policies that stop after the first loss.
"""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

from gadask.envs.base import LaneEnv
from gadask.envs.harlow_images import SETS, draw_pair
from gadask.envs.one_lane import OneLane, check_choice, check_count, check_number, episode_stream
from gadask.errors import EnvError

CROSS, CHOICE, OUTCOME = 0, 1, 2
"""What hangs on the wall: the cross, both images, or the chosen one."""

_GREY, _WHITE, _BLACK = 128, 255, 0


class HarlowLanes(LaneEnv):
    """Many walls side by side."""

    observations: NDArray[np.uint8]
    trials_correct: NDArray[np.int8]
    """Each trial's choice: 1 right, 0 wrong, −1 not made; shape `(n_lanes, n_trials)`."""
    phases: NDArray[np.int64]
    """`CROSS`, `CHOICE` or `OUTCOME`, shape `(n_lanes,)`."""
    gazes: NDArray[np.int64]
    """Shifts from the cross to the gaze, negative to the left, at most `reach`; shape `(n_lanes,)`."""
    left_images: NDArray[np.int64]
    """What no policy is told: which of its images, 0 or 1, a lane shows left in each trial, `(n_lanes, n_trials)`."""
    trials: NDArray[np.int64]
    """The present trial, from 0; shape `(n_lanes,)`."""
    walls: NDArray[np.uint8]
    """The walls in colour, shape `(n_lanes, 3, retina, 2 × retina)`."""

    def __init__(
        self,
        n_lanes: int,
        retina: int = 84,
        n_trials: int = 6,
        image_set: str = "train",
        reach: int = 4,
        hold: int = 2,
        patience: int = 30,
        fixation_reward: float = 0.2,
        forfeit: float = 1.0,
    ) -> None:
        """Make lanes that are over until they are reset; raises `EnvError` for an impossible kwarg."""
        self.n_lanes = n_lanes
        self.retina = check_count("retina", retina, 16, 256)
        if retina % 4:
            raise EnvError(f"env.kwargs.retina: expected a multiple of 4, found {retina}; {retina // 4 * 4} is one")
        self.n_trials = check_count("n_trials", n_trials, 1, 1000)
        check_choice("image_set", image_set, SETS)
        self.reach = check_count("reach", reach, 1, retina // 2)
        self.hold = check_count("hold", hold, 1, 1000)
        self.patience = check_count("patience", patience, 3 * hold + 2 * reach, 100_000)
        self.fixation_reward = check_number("fixation_reward", fixation_reward)
        self.forfeit = check_number("forfeit", forfeit)
        self.image_set = image_set
        self.observation_space = gymnasium.spaces.Box(0, 255, (3, retina, retina), np.uint8)
        self.action_space = gymnasium.spaces.Discrete(3)
        self.observations = np.zeros((n_lanes, 3, retina, retina), np.uint8)
        self.rewards = np.zeros(n_lanes)
        self.over = np.ones(n_lanes, np.bool_)
        self.trials_correct = np.full((n_lanes, n_trials), -1, np.int8)
        self.phases = np.zeros(n_lanes, np.int64)
        self.gazes = np.zeros(n_lanes, np.int64)
        self.left_images = np.zeros((n_lanes, n_trials), np.int64)
        self.trials = np.zeros(n_lanes, np.int64)
        self.walls = np.zeros((n_lanes, 3, retina, 2 * retina), np.uint8)

        half = retina // 2  # the size of an image, and the way from the cross to its middle
        self._images = np.zeros((n_lanes, 2, 3, half, half), np.uint8)
        self._starts = half + np.rint(np.arange(-reach, reach + 1) * (half / reach)).astype(np.int64)
        self._cross_wall = _cross_wall(retina)
        self._good_images = np.zeros(n_lanes, np.int64)
        self._held = np.zeros(n_lanes, np.int64)
        self._steps = np.zeros(n_lanes, np.int64)  # since the last choice
        self._rows = np.arange(n_lanes)

    def reset(self, lane: int, seed: int) -> None:
        """Start the episode of `seed`: draw images, the good one, and their sides; the gaze rests on the cross."""
        stream = episode_stream(seed // 2)
        self._images[lane] = draw_pair(stream, self.image_set, self.retina // 2)
        draws = stream.integers(2, size=1 + self.n_trials)
        self._good_images[lane] = draws[0] ^ (seed % 2)
        self.left_images[lane] = draws[1:]
        self.trials_correct[lane] = -1
        for state in (self.phases, self.gazes, self.trials, self.rewards, self._held, self._steps):
            state[lane] = 0
        self.over[lane] = False
        self.walls[lane] = self._cross_wall
        start = self._starts[self.reach]
        self.observations[lane] = self.walls[lane, :, :, start : start + self.retina]

    def step(self, actions: NDArray[np.generic]) -> None:
        """Shift the gaze in every lane."""
        live = ~self.over
        self.gazes += np.multiply(actions, live, dtype=np.int64, casting="unsafe") - live
        np.clip(self.gazes, -self.reach, self.reach, out=self.gazes)
        aims = np.where(self.phases == CHOICE, self.reach, 0)
        self._held += 1
        self._held *= (np.abs(self.gazes) == aims) | (self.phases == OUTCOME)
        self._steps += live
        self.rewards[:] = 0
        ready = live & (self._held >= self.hold)
        if ready.any():
            self._held[ready] = 0
            phases = self.phases.copy()
            self._show_images(np.flatnonzero(ready & (phases == CROSS)))
            self._judge(np.flatnonzero(ready & (phases == CHOICE)))
            self._show_cross(np.flatnonzero(ready & (phases == OUTCOME)))
        late = live & (self._steps >= self.patience)
        self.rewards[late] -= self.forfeit * (self.n_trials - self.trials[late])
        self.over |= late
        views = np.lib.stride_tricks.sliding_window_view(self.walls, self.retina, axis=3)
        self.observations[:] = views[self._rows, :, :, self._starts[self.gazes + self.reach]]

    def _show_images(self, lanes: NDArray[np.int64]) -> None:
        self.rewards[lanes] = self.fixation_reward
        self.phases[lanes] = CHOICE
        self.walls[lanes] = _GREY
        left = self.left_images[lanes, self.trials[lanes]]
        self._hang(lanes, -1, self._images[lanes, left])
        self._hang(lanes, 1, self._images[lanes, 1 - left])

    def _judge(self, lanes: NDArray[np.int64]) -> None:
        """Reward the choice, show its outcome, and count the trial."""
        trials = self.trials[lanes]
        chose_right = self.gazes[lanes] > 0
        chosen = np.where(chose_right, 1 - self.left_images[lanes, trials], self.left_images[lanes, trials])
        correct = chosen == self._good_images[lanes]
        self.trials_correct[lanes, trials] = correct
        self.rewards[lanes] = np.where(correct, 1, -1)
        self.phases[lanes] = OUTCOME
        self.walls[lanes] = np.where(correct, _WHITE, _BLACK)[:, None, None, None]
        pictures = self._images[lanes, chosen]
        self._hang(lanes[~chose_right], -1, pictures[~chose_right])
        self._hang(lanes[chose_right], 1, pictures[chose_right])
        self.trials[lanes] += 1
        self._steps[lanes] = 0
        self.over[lanes] = self.trials[lanes] == self.n_trials

    def _show_cross(self, lanes: NDArray[np.int64]) -> None:
        self.phases[lanes] = CROSS
        self.walls[lanes] = self._cross_wall

    def _hang(self, lanes: NDArray[np.int64], side: int, images: NDArray[np.uint8]) -> None:
        """Copy one image to each of the walls, to the left of the middle (−1) or to the right (1)."""
        half = self.retina // 2
        y, x = half // 2, self.retina + side * half - half // 2
        self.walls[lanes, :, y : y + half, x : x + half] = images


class Harlow(OneLane):
    """One wall. `info["trials"]` holds each trial's choice: 1 right, 0 wrong, −1 not made."""

    metadata: dict[str, Any] = {"render_modes": ["rgb_array"], "render_fps": 10, "paired_tasks": True}  # noqa: RUF012

    def __init__(
        self,
        retina: int = 84,
        n_trials: int = 6,
        image_set: str = "train",
        reach: int = 4,
        hold: int = 2,
        patience: int = 30,
        fixation_reward: float = 0.2,
        forfeit: float = 1.0,
        render_mode: str | None = None,
    ) -> None:
        """Raises `EnvError` for an impossible kwarg."""
        self._lanes = HarlowLanes(1, retina, n_trials, image_set, reach, hold, patience, fixation_reward, forfeit)
        super().__init__(self._lanes, render_mode)

    def _info(self) -> dict[str, Any]:
        return {"trials": self._lanes.trials_correct[0].copy()}

    def _picture(self) -> NDArray[np.uint8]:
        from gadask.envs.pictures import BAD, FAINT, GOOD, MARK, Picture

        lanes = self._lanes
        retina = lanes.retina
        scale = max(1, 512 // (2 * retina))
        left, top = 24, 84
        width, height = 2 * retina * scale, retina * scale
        picture = Picture(max(480, width + 2 * left), top + height + 110)
        doing = ("look at the cross", "choose an image", "outcome")[lanes.phases[0]]
        trial = int(lanes.trials[0]) + (lanes.phases[0] != OUTCOME)
        picture.text(left, 16, f"trial {trial} of {lanes.n_trials}: {doing}", 22)
        picture.text(left, 50, f"step {len(self.history)}, reward {sum(r for _, r in self.history):+.1f}", 16, FAINT)
        wall = lanes.walls[0].transpose(1, 2, 0)
        start = lanes._starts[lanes.gazes[0] + lanes.reach]
        seen = np.zeros((retina, 2 * retina, 1), np.bool_)
        seen[:, start : start + retina] = True
        picture.image(left, top, np.where(seen, wall, wall // 3).astype(np.uint8), scale)
        x, middle = left + start * scale, left + (start + retina / 2) * scale
        picture.box(x, top - 2, retina * scale, height + 4, outline=MARK)
        picture.line(middle, top + height + 2, middle, top + height + 14, MARK, 4)
        picture.text(middle, top + height + 18, "gaze", 13, MARK, "mt")
        for number, correct in enumerate(lanes.trials_correct[0]):
            fill = {-1: None, 0: BAD, 1: GOOD}[int(correct)]
            picture.box(left + 40 * number, top + height + 46, 32, 32, fill, FAINT)
        picture.text(left, top + height + 86, "choices so far: green right, red wrong", 13, FAINT)
        return picture.pixels()


def _cross_wall(retina: int) -> NDArray[np.uint8]:
    """Return the wall with the cross: uint8, shape `(3, retina, 2 × retina)`."""
    wall = np.full((3, retina, 2 * retina), _GREY, np.uint8)
    arm, thick = retina // 4, max(1, retina // 16)
    y, x = retina // 2, retina
    wall[:, y - arm : y + arm, x - thick : x + thick] = _WHITE
    wall[:, y - thick : y + thick, x - arm : x + arm] = _WHITE
    return wall
