"""Film a run's elite: `python analysis/film.py RUN_DIR [--output ELITE.gif] [--seed 7]`.

The film shows one recorded episode again: of the evaluation episodes that crowned the elite, the one whose return is
nearest to their mean. Its seed follows from its row, and its weights from the genome; of the noise only the chunks that
the genome needs are made. So a laptop films what a cluster evolved. Another version of gadask, or a CPU that rounds
otherwise, may choose other actions; a return that differs from the recorded one is logged.

A GIF shows the whole episode in at most a minute, with return and step below the picture: at its own speed, or two,
four, ... times as fast. All its frames share one palette, which is exact up to 239 colours; an Atari game has fewer.
"""

from __future__ import annotations

import io
import logging
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import tyro
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from gadask import files
from gadask.config import EnvConfig
from gadask.envs import Env, make_env
from gadask.errors import GadaskError, RunDirectoryError, UsageError
from gadask.genome import to_text
from gadask.messages import Genome, Kind
from gadask.noise import LazyNoise
from gadask.policies import Policy, make_policy
from gadask.record import read_episodes, read_generations, read_run
from gadask.rollout import watch_episode
from gadask.seeding import env_seed
from gadask.selection import Elite
from gadask.weights import decode

_EMULATOR_FRAMES_PER_S = 60
_STEPS_PER_S = 30  # of an environment without emulator: most of Gymnasium's say 15 to 50
_PICTURES_PER_S = 15
_MAX_S = 60
_LAST_PICTURE_S = 2.0
_WIDTH = 320  # pixels, roughly
_MARGIN, _FONT_SIZE, _CAPTION_HEIGHT = 8, 16, 26
_N_GREYS = 16
_N_COLORS = 256 - _N_GREYS - 1  # the caption has the greys, and one entry stands for transparent
_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Arguments:
    """Film the elite of a run."""

    run_dir: tyro.conf.Positional[Path]
    """Directory of the run."""
    output: Annotated[Path | None, tyro.conf.arg(metavar="ELITE.gif")] = None
    """GIF to write; by default RUN_DIR/elite.gif."""
    max_steps: int | None = None
    """Cut the film after this many agent steps; by default it shows the whole episode."""
    seed: int | None = None
    """Seed of the environment; by default that of the recorded episode nearest to the elite's mean return."""


@dataclass(frozen=True)
class Film:
    """Pictures of one episode, equally many steps apart but for the last, which is its end."""

    pictures: list[NDArray[np.uint8]]
    """In colour, each uint8 `(height, width, 3)`."""
    steps: list[int]
    """Agent steps played when each picture was taken."""
    returns: list[float]
    """Sum of the rewards when each picture was taken."""
    picture_s: float
    """Seconds for which each picture is shown."""
    speed: int
    """How many times as fast as the environment the film runs."""


def film_elite(
    run_dir: Path | str, path: Path | str | None = None, max_steps: int | None = None, seed: int | None = None
) -> Path | None:
    """Film one episode of a run's elite and return the GIF written, by default `run_dir/elite.gif`.

    Returns None, and logs why, where the environment cannot be rendered. Arguments are those of the command.

    Raises:
        RunDirectoryError: there is no run, or it has no elite yet.
        EnvError, PolicyError: environment or policy are not installed here.
        RecordError: the run directory is damaged, or the file cannot be written.
    """
    run_dir = Path(run_dir)
    config, state = read_run(run_dir)
    elite = state.population.elite
    if elite is None:
        raise RunDirectoryError(f"{run_dir}: expected an elite to film, found none; evolve another generation")
    recorded = None
    if seed is None:
        seed, recorded = typical_episode(run_dir, config.seed, elite)
    if max_steps is None or max_steps >= config.env.max_steps:
        max_steps = config.env.max_steps
    else:
        recorded = None  # of the whole episode
    env = _open(config.env, seed)
    if env is None:
        return None
    with closing(env), _one_thread():
        policy = make_policy(config.policy, env.observation_space, env.action_space)
        _load(policy, elite.genome, LazyNoise(config.noise), config.ga.mutation_power)
        film = film_episode(env, policy, seed, max_steps)
    if recorded is not None and film.returns[-1] != recorded:
        _logger.warning(
            "this is not the recorded episode: expected return %g, found %g; gadask has changed since, or this machine"
            " rounds otherwise: compare them with provenance.json",
            recorded,
            film.returns[-1],
        )
    path = run_dir / "elite.gif" if path is None else Path(path)
    about = f"{config.env.id}, elite of generation {elite.generation}, seed {seed}, return {film.returns[-1]:g}"
    files.atomic_write(path, to_gif(film, about))
    return path


def typical_episode(run_dir: Path, run_seed: int, elite: Elite) -> tuple[int, float]:
    """Return environment seed and return of the episode nearest to the elite's mean among those that crowned it.

    With `candidates = 0` that is its only one, which it played as a child.
    """
    episodes = read_episodes(run_dir, elite.generation).to_pandas()
    line = next(line for line in read_generations(run_dir) if line["generation"] == elite.generation)
    genomes = [candidate["genome"] for candidate in line["candidates"]]
    own = episodes["counted"] & (episodes["status"] == "ok")
    if genomes:
        own &= (episodes["kind"] == "evaluation") & (episodes["slot"] == genomes.index(to_text(elite.genome)))
        kind = Kind.EVALUATION
    else:
        own &= (episodes["kind"] == "child") & (episodes["gene"] == elite.genome[-1])
        kind = Kind.CHILD
    row = episodes.loc[(episodes.loc[own, "return"] - elite.mean).abs().idxmin()]
    seed = env_seed(run_seed, kind.purpose, int(row["generation"]), int(row["slot"]), int(row["episode"]))
    return seed, float(row["return"])


def film_episode(env: Env, policy: Policy, seed: int, max_steps: int) -> Film:
    """Play the episode that `rollout.play_episode` plays, and keep as many pictures as its film needs."""
    step_s = env.frames_per_step / _EMULATOR_FRAMES_PER_S if env.frames_per_step > 1 else 1 / _STEPS_PER_S
    interval = max(1, round(1 / (step_s * _PICTURES_PER_S)))
    picture_s, speed = interval * step_s, 1
    taken: list[tuple[NDArray[np.uint8], int, float]] = []
    now = (0, 0.0)
    with torch.inference_mode():
        for steps, return_, _ in watch_episode(env, policy, seed, max_steps):
            now = steps, return_
            if now[0] % (interval * speed) == 0:
                taken.append((_shrunk(env.render()), *now))
            if len(taken) * picture_s > _MAX_S:
                taken = taken[::2]
                speed *= 2
        if taken[-1][1] != now[0]:
            taken.append((_shrunk(env.render()), *now))
    pictures, decisions, returns = zip(*taken, strict=True)
    return Film(list(pictures), list(decisions), list(returns), picture_s, speed)


def to_gif(film: Film, about: str) -> bytes:
    """Return the film as a GIF that runs for ever; `about` becomes its comment."""
    palette, indices = _shared_palette(film.pictures)
    greys = np.linspace(0, 255, _N_GREYS, dtype=np.uint8)[:, None].repeat(3, axis=1)
    colors = np.concatenate([palette, greys, greys[:1]]).tobytes()  # the last one stands for transparent
    images = []
    for picture, steps, return_ in zip(indices, film.steps, film.returns, strict=True):
        caption = _caption(picture.shape[1], steps, return_, film.speed)
        image = Image.fromarray(np.concatenate([picture, caption + np.uint8(len(palette))]))
        image.putpalette(colors)
        images.append(image)
    ends_cs = [round(100 * film.picture_s * (i + 1)) for i in range(len(images))]  # a GIF counts hundredths
    durations_ms = [10 * (end - start) for start, end in zip([0, *ends_cs], ends_cs, strict=False)]
    durations_ms[-1] += round(1000 * _LAST_PICTURE_S)
    content = io.BytesIO()
    images[0].save(
        content,
        format="GIF",
        save_all=True,
        append_images=images[1:],
        duration=durations_ms,
        loop=0,
        palette=colors,  # one for all pictures
        transparency=len(palette) + _N_GREYS,
        optimize=True,  # what stays the same is transparent
        comment=about.encode(),
    )
    return content.getvalue()


def _open(config: EnvConfig, seed: int) -> Env | None:
    """Return an environment that can be rendered; None, with the reason logged, where it cannot."""
    kwargs = dict(config.kwargs)
    if not config.id.startswith("ALE/"):  # an emulator always has its screen
        kwargs["render_mode"] = "rgb_array"
    env = None
    try:
        env = make_env(replace(config, kwargs=kwargs))
        env.reset(seed)
        env.render()
    except Exception as error:  # whatever an environment or its display raises
        if env is None:
            make_env(config).close()  # raises unless rendering is all that is wrong
        else:
            env.close()
        reason = str(error).partition("\n")[0]
        _logger.warning("no film: %s cannot be rendered here: %s: %s", config.id, type(error).__name__, reason)
        return None
    return env


def _load(policy: Policy, genome: Genome, noise: LazyNoise, mutation_power: float) -> None:
    decode(policy.flat, genome, noise, policy.initialise, mutation_power)


@contextmanager
def _one_thread() -> Iterator[None]:
    """Compute as rollout processes do: sums in another order could change an action."""
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(n_threads)


def _shrunk(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return a copy, shrunk by a whole factor to about `_WIDTH`."""
    factor = max(1, round(picture.shape[1] / _WIDTH))
    return np.array(Image.fromarray(picture).reduce(factor) if factor > 1 else picture)


def _shared_palette(pictures: Sequence[NDArray[np.uint8]]) -> tuple[NDArray[np.uint8], list[NDArray[np.uint8]]]:
    """Return at most `_N_COLORS` colours, uint8 `(n, 3)`, and the pictures as indices of them, enlarged to `_WIDTH`."""
    packed = [picture.astype(np.uint32) @ np.array([1 << 16, 1 << 8, 1], np.uint32) for picture in pictures]
    colors = np.unique(np.concatenate([np.unique(picture) for picture in packed]))
    if len(colors) <= _N_COLORS:
        palette = np.stack([colors >> 16, colors >> 8 & 255, colors & 255], axis=1).astype(np.uint8)
        indices = [np.searchsorted(colors, picture).astype(np.uint8) for picture in packed]
    else:
        sample = np.concatenate(pictures[:: max(1, len(pictures) // 16)])
        reference = Image.fromarray(sample).quantize(_N_COLORS)
        palette = np.array(reference.getpalette(), np.uint8).reshape(-1, 3)[:_N_COLORS]
        dither = Image.Dither.NONE  # dots that change from picture to picture
        indices = [np.array(Image.fromarray(p).quantize(palette=reference, dither=dither)) for p in pictures]
    factor = max(1, round(_WIDTH / pictures[0].shape[1]))
    return palette, [picture.repeat(factor, axis=0).repeat(factor, axis=1) for picture in indices]


def _caption(width: int, steps: int, return_: float, speed: int) -> NDArray[np.uint8]:
    """Return the line below a picture: 0 (black) to `_N_GREYS` − 1 (white), uint8 `(_CAPTION_HEIGHT, width)`."""
    image = Image.new("L", (width, _CAPTION_HEIGHT))
    draw, font = ImageDraw.Draw(image), ImageFont.load_default(_FONT_SIZE)
    middle = _CAPTION_HEIGHT // 2
    text = f"return {return_:,.0f}" if return_.is_integer() else f"return {return_:,.1f}"
    draw.text((_MARGIN, middle), text, fill=255, font=font, anchor="lm")
    text = f"step {steps:,}" if speed == 1 else f"step {steps:,}  {speed}x"  # the font has no ×
    draw.text((width - _MARGIN, middle), text, fill=255, font=font, anchor="rm")
    return np.array(image) // np.uint8(256 // _N_GREYS)


def main(argv: Sequence[str]) -> int:
    """Run the command line; returns the exit status, 1 where the environment cannot be rendered."""
    logging.basicConfig(format="%(levelname)s: %(message)s", level=logging.WARNING)
    arguments = tyro.cli(Arguments, args=list(argv))
    try:
        path = film_elite(arguments.run_dir, arguments.output, arguments.max_steps, arguments.seed)
    except GadaskError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2 if isinstance(error, UsageError) else 1
    if path is None:
        return 1
    print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
