"""Films of one episode, of every kind of environment, and of MuJoCo on a machine without a display."""

from __future__ import annotations

import ctypes.util
import os
import subprocess
import sys
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from gadask.analysis.camera import film_episode, open_env
from gadask.analysis.film import film_elite
from gadask.config import EnvConfig, Scalar
from gadask.envs import Env, make_env
from gadask.envs.base import Action, Observation
from gadask.errors import EnvError
from gadask.play.rollout import play_episode
from tests.analysis.pictures import decoded
from tests.analysis.recorded import FROSTBITE, SWATCH, Players, Swatch, record

ROOT = Path(__file__).parents[2]

needs_gl = pytest.mark.skipif(
    not any(map(ctypes.util.find_library, ("EGL", "OSMesa"))) and not os.environ.get("CI"),
    reason="MuJoCo cannot draw without a display: apt-get install libegl1 libgl1-mesa-dri",
)


class Script:
    """Plays given actions, the last one for ever."""

    def __init__(self, *actions: Action) -> None:
        self._actions = actions
        self._steps = 0
        self.seen: list[Observation] = []

    def reset(self, stream: np.random.Generator | None = None) -> None:
        self._steps = 0

    def act(self, observation: Observation) -> Action:
        self.seen.append(observation.copy())
        self._steps += 1
        return self._actions[min(self._steps, len(self._actions)) - 1]


def opened(env: EnvConfig) -> Env:
    found = open_env(env, 3)
    assert found is not None
    return found


def test_a_game_tells_actions_by_name() -> None:
    with closing(opened(FROSTBITE.env)) as env:
        one = film_episode(env, Script(0, 17, 1, 2), 3, 4)
    assert one.actions == ["", "NOOP", "DOWNLEFTFIRE", "FIRE", "UP"]


def test_inputs_are_what_the_policy_is_given_at_each_picture() -> None:
    policy = Script(0, 2, 5)
    with closing(opened(FROSTBITE.env)) as env:
        one = film_episode(env, policy, 3, 20, with_inputs=True)
    assert one.inputs is not None
    assert len(one.inputs) == len(one.pictures) == 21
    np.testing.assert_array_equal(one.inputs[:-1], policy.seen)
    assert not np.array_equal(one.inputs[-1], one.inputs[0])


def test_discrete_actions_are_told_by_number_and_continuous_ones_in_part() -> None:
    with closing(opened(SWATCH.env)) as env:
        assert film_episode(env, Script(2, 1), 3, 4).actions == ["", "action 1", "action 1"]  # after 0, 2, 4 steps
    pytest.importorskip("mujoco")
    with closing(make_env(EnvConfig(id="HalfCheetah-v5"))) as env:
        action = np.array([0.126, -0.004, -1, 1, 0.5, 0.5], np.float32)
        env.render = lambda: np.zeros((4, 4, 3), np.uint8)  # type: ignore[method-assign]
        assert film_episode(env, Script(action), 3, 1).actions[1] == "action +0.13 +0.00 -1.00 +1.00 ..."


@pytest.mark.parametrize(
    ("env", "n_pictures", "picture_s"),
    [
        (EnvConfig(id="gadask/MetaBandit-v0", max_steps=10), 11, 0.25),
        (EnvConfig(id="gadask/Harlow-v0", max_steps=20, kwargs={"retina": 16}), 21, 0.1),
        (EnvConfig(id="gadask/MetaMDP-v0", max_steps=20), 21, 0.25),
    ],
    ids=lambda value: value.id if isinstance(value, EnvConfig) else "",
)
def test_each_step_of_a_slow_task_is_shown(env: EnvConfig, n_pictures: int, picture_s: float) -> None:
    with closing(opened(env)) as opened_env:
        one = film_episode(opened_env, Script(1), 3, env.max_steps, with_inputs=True)
    assert (len(one.pictures), one.picture_s, one.speed) == (n_pictures, picture_s, 1)
    assert one.pictures[0].shape[1] > 400  # its text can be read
    assert len({picture.tobytes() for picture in one.pictures}) > 5


def test_a_long_film_runs_faster_and_ends_with_the_episode() -> None:
    players = Players(replace(SWATCH, env=replace(SWATCH.env, kwargs={"render_mode": "rgb_array"})))
    with closing(players.env) as env:
        policy = players.load((7,))
        one = film_episode(env, policy, 3, 5001)
        played = play_episode(env, policy, 3, 5001)
    assert one.speed == 4  # 166.7 s in at most 60
    assert 450 < len(one.pictures) <= 900
    assert one.steps == [*range(0, 5001, 8), 5001]
    assert one.returns[-1] == played.return_


def test_a_slow_task_is_shown_faster_before_steps_are_left_out() -> None:
    with closing(opened(EnvConfig(id="gadask/MetaBandit-v0", kwargs={"n_pulls": 60}))) as env:
        one = film_episode(env, Script(1), 3, 60, max_s=5)
    assert (one.steps, one.speed) == ([*range(0, 61, 2)], 4)
    assert one.picture_s == 0.125


def test_wide_pictures_are_shrunk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Swatch, "render", lambda self: np.full((40, 1000, 3), 7, np.uint8))
    with closing(opened(SWATCH.env)) as env:
        assert {picture.shape for picture in film_episode(env, Script(1), 3, 4).pictures} == {(20, 500, 3)}


def test_harlows_task_is_filmed(tmp_path: Path) -> None:
    kwargs: dict[str, Scalar] = {"filters": "2,4", "kernels": "4,3", "strides": "2,2", "units": 4}
    config = replace(
        SWATCH,
        env=EnvConfig(id="gadask/Harlow-v0", max_steps=8, kwargs={"retina": 16}),
        policy=replace(SWATCH.policy, kind="conv-gru", kwargs=kwargs),
        noise=replace(SWATCH.noise, size=10_000),
    )
    path = film_elite(record(tmp_path / "run", config, 1), with_inputs=True)
    assert path is not None
    frames, length_s = decoded(path)
    assert frames[0].shape == (502, 560 + 8 + 448, 3)
    assert length_s == pytest.approx(9 * 0.1 + 2, abs=0.02)
    assert (frames[0][50:400, 600:] == 128).all(axis=2).any()  # the wall through its retina


@needs_gl
def test_mujoco_is_filmed_without_a_display(tmp_path: Path) -> None:
    pytest.importorskip("mujoco")
    config = replace(SWATCH, env=EnvConfig(id="InvertedPendulum-v5", max_steps=8))
    run = record(tmp_path / "run", config, 1)
    result = subprocess.run(
        [sys.executable, str(ROOT / "analysis" / "film.py"), str(run), "--seed", "3", "--input"],
        env={key: value for key, value in os.environ.items() if key not in ("DISPLAY", "MUJOCO_GL")},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr
    frames, length_s = decoded(run / "elite.gif")
    assert frames[0].shape == (532, 688, 3)
    assert length_s == pytest.approx((len(frames) - 1) * 2 / 25 + 2, abs=0.1)  # every second of 25 steps a second
    assert len(frames) > 3
    pole = frames[0][60:200, 200:280].astype(int)
    assert (pole[..., 1] > pole[..., 0] + 40).any()  # it is green


def test_where_mujoco_cannot_draw_one_line_names_the_package(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    pytest.importorskip("mujoco")
    monkeypatch.setattr(sys, "platform", "linux")
    for variable in ("DISPLAY", "MUJOCO_GL"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(ctypes.util, "find_library", lambda name: None)
    monkeypatch.setitem(sys.modules, "mujoco.egl", None)  # its import fails
    assert open_env(EnvConfig(id="InvertedPendulum-v5"), 3) is None
    assert [record.getMessage() for record in caplog.records] == [
        "no film: InvertedPendulum-v5 cannot be rendered here: expected EGL or OSMesa, since there is no display, found"
        " neither; on Debian or Ubuntu: apt-get install libegl1 libgl1-mesa-dri"
    ]
    assert "MUJOCO_GL" not in os.environ
    with closing(opened(SWATCH.env)):  # which needs neither
        pass


def test_an_environment_that_is_not_installed_is_refused() -> None:
    with pytest.raises(EnvError, match="expected an id registered"):
        open_env(EnvConfig(id="CartPole-v99x"), 1)


def test_sprites_that_are_drawn_in_every_other_frame_are_seen() -> None:
    with closing(make_env(EnvConfig(id="ALE/Asteroids-v5"))) as env:
        env.reset(3)
        env.render()
        for _ in range(20):
            env.step(0)
            assert env.render()[30:].any()
