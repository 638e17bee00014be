"""What a checkpoint holds, as strict JSON with a checksum.

A checkpoint says where a run stands after its last closed generation, and how much of the log belongs to it: the
log's size, and the SHA-256 of its bytes so far (`head -c SIZE generations.jsonl | sha256sum`). Its own `sha256`
covers the canonical JSON (sorted keys, no spaces) of everything else in it. `decode` returns exactly what `encode`
was given, or raises: a damaged checkpoint is never a wrong state.
"""

from __future__ import annotations

import hashlib
import json
import tomllib
from dataclasses import asdict, dataclass, field
from typing import NoReturn

from gadask.algorithms.algorithm import Elite, Json
from gadask.algorithms.documents import (
    count_from_json,
    elite_from_json,
    elite_to_json,
    genomes_from_json,
    number_from_json,
)
from gadask.config import Config, dump_config, own_settings, stored_config
from gadask.errors import ConfigError, RecordError
from gadask.genomes.genome import Genome, to_json
from gadask.observations import Moments

FORMAT = 2
"""Version of the checkpoint's format. One of format 1 is read too: it is of a run of truncation selection."""

_MAY_CHANGE = ("budget.", "env.episode_timeout_s", "env.rehearsal_timeout_s", "env.test_max_steps")
_WALL_CLOCK = frozenset({"timing", "log", "sha256"})


@dataclass(frozen=True)
class State:
    """Where a run stands between two generations. The default is a run that has played nothing."""

    generation: int = -1
    """The last closed generation; −1 before the first."""
    algorithm: Json = field(default_factory=dict)
    """The algorithm's state, as its `to_json` gives it; empty where it has not begun."""
    candidates: tuple[Genome, ...] = ()
    """Genomes evaluated together with the next generation's children; empty with `elite_evaluation = "barrier"`."""
    elite: Elite | None = None
    """The best genome so far."""
    frames: int = 0
    """Emulator frames so far, candidates' evaluation included."""
    steps: int = 0
    """Agent steps so far, candidates' evaluation included."""
    episodes: int = 0
    """Episodes so far, candidates' evaluation included."""
    noise_digest: str = ""
    """Digest of the noise table; empty where nothing has been played."""
    elapsed_s: float = field(default=0.0, compare=False)
    """Wall time of evolution over all restarts. Not part of equality: two equal runs differ in it."""
    observations: Moments = field(default_factory=Moments)
    """What was observed so far; stays empty without `policy.normalise`."""


@dataclass(frozen=True)
class Checkpoint:
    """A state, the config that led to it, and the part of the log that belongs to it."""

    state: State
    config: Config
    log_size_bytes: int
    log_sha256: str


def encode(checkpoint: Checkpoint) -> bytes:
    """Return the checkpoint as one line of JSON.

    Raises:
        RecordError: a number is not finite, or a value is not a plain Python one.
    """
    state = checkpoint.state
    body: Json = {
        "format": FORMAT,
        "generation": state.generation,
        "algorithm": state.algorithm,
        "candidates": list(map(to_json, state.candidates)),
        "elite": elite_to_json(state.elite),
        "frames": state.frames,
        "steps": state.steps,
        "episodes": state.episodes,
        "noise_digest": state.noise_digest,
        "config": dump_config(checkpoint.config),
        "log": {"size_bytes": checkpoint.log_size_bytes, "sha256": checkpoint.log_sha256},
        "timing": {"elapsed_s": state.elapsed_s},
    }
    if state.observations.count:
        body["observations"] = asdict(state.observations)
    try:
        return strict_json(body | {"sha256": _checksum(body)}, sort_keys=True)
    except (TypeError, ValueError) as error:
        raise RecordError(f"generation {state.generation}: its state cannot be a checkpoint: {error}") from None


def decode(content: bytes) -> Checkpoint:
    """Return the checkpoint that `encode` made `content` from.

    Raises:
        RecordError: it is anything else; the text is a reason without the file's name.
    """
    try:
        body = json.loads(content, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        raise RecordError("not a JSON document") from None
    if not isinstance(body, dict):
        raise RecordError(f"expected a JSON object, found {type(body).__name__}")
    found = body.pop("sha256", None)
    if found != _checksum(body):
        raise RecordError("its checksum does not match its content")
    if body.get("format") == 1 and {"parents", "elite"} <= body.keys():
        body["format"], body["algorithm"] = FORMAT, {"parents": body.pop("parents"), "elite": body["elite"]}
    if body.get("format") != FORMAT:
        raise RecordError(f"expected format {FORMAT}, found {body.get('format')!r}; use the gadask that wrote it")
    return _checkpoint(body)


def without_wall_clock(document: Json) -> Json:
    """Return a line of the log or a checkpoint without what differs between two equal runs.

    These are the timings, and the sizes and hashes that cover timings.
    """
    return {key: value for key, value in document.items() if key not in _WALL_CLOCK}


def check_same_run(stored: Config, new: Config) -> None:
    """Refuse to go on with another config: only `budget`, the timeouts of `env` and what has no effect may differ.

    Raises:
        ConfigError: names the first key that differs, with both values.
    """
    before, after = _identity(stored), _identity(new)
    for key in sorted(before.keys() | after.keys()):
        values = [repr(table[key]) if key in table else "nothing" for table in (before, after)]
        if values[0] != values[1]:
            raise ConfigError(
                f"{key}: expected {values[0]} as in the run directory, found {values[1]}; a resumed run may change"
                " budget and timeouts of env only: start a new run directory for anything else"
            )


def strict_json(document: Json, *, sort_keys: bool = False) -> bytes:
    """Return `document` as one line of JSON that every reader takes: raises `ValueError` for NaN and infinities."""
    return json.dumps(document, allow_nan=False, sort_keys=sort_keys, separators=(",", ":")).encode() + b"\n"


def _checksum(body: Json) -> str:
    return hashlib.sha256(strict_json(body, sort_keys=True)).hexdigest()


def _identity(config: Config) -> dict[str, object]:
    """Return what makes a run the run it is, as dotted keys."""
    # Its own: a later default of one algorithm is nothing to the runs of the others.
    return {key: value for key, value in own_settings(config).items() if not key.startswith(_MAY_CHANGE)}


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(name)


def _checkpoint(body: Json) -> Checkpoint:
    """Return the checkpoint in `body`, whose checksum is right but whose types are still to be proved."""
    keys = {
        *("format", "generation", "algorithm", "candidates", "elite", "frames", "steps", "episodes"),
        *("noise_digest", "config", "log", "timing"),
    }
    _expect(body.keys() - {"observations"} == keys, "keys", sorted(keys), sorted(body))
    log, timing = body["log"], body["timing"]
    _expect(isinstance(log, dict) and log.keys() == {"size_bytes", "sha256"}, "log", "size_bytes and sha256", log)
    _expect(isinstance(timing, dict) and timing.keys() == {"elapsed_s"}, "timing", "elapsed_s", timing)
    last = body["generation"]
    _expect(type(last) is int and last >= -1, "generation", "−1 or more", last)
    _expect(isinstance(body["algorithm"], dict), "algorithm", "an object", body["algorithm"])
    state = State(
        generation=last,
        algorithm=body["algorithm"],
        candidates=genomes_from_json(body["candidates"], "candidates"),
        elite=elite_from_json(body["elite"], "elite"),
        frames=count_from_json(body["frames"], "frames"),
        steps=count_from_json(body["steps"], "steps"),
        episodes=count_from_json(body["episodes"], "episodes"),
        noise_digest=_text(body["noise_digest"], "noise_digest"),
        observations=_moments(body["observations"]) if "observations" in body else Moments(),
        elapsed_s=number_from_json(timing["elapsed_s"], "timing.elapsed_s"),
    )
    try:
        config = stored_config(tomllib.loads(_text(body["config"], "config")))
    except (ValueError, RecursionError, ConfigError) as error:
        raise RecordError(f"config: {error}") from None
    return Checkpoint(
        state, config, count_from_json(log["size_bytes"], "log.size_bytes"), _text(log["sha256"], "log.sha256")
    )


def _expect(holds: bool, key: str, expected: object, found: object) -> None:
    if not holds:
        raise RecordError(f"{key}: expected {expected}, found {found!r}")


def _numbers(value: object, key: str) -> tuple[float, ...]:
    if isinstance(value, list):
        return tuple(float(number_from_json(number, key)) for number in value)
    raise RecordError(f"{key}: expected a list of numbers, found {value!r}")


def _text(value: object, key: str) -> str:
    if isinstance(value, str):
        return value
    raise RecordError(f"{key}: expected a string, found {value!r}")


def _moments(value: object) -> Moments:
    keys = {"count", "sums", "squares"}
    if not isinstance(value, dict) or value.keys() != keys:
        raise RecordError(f"observations: expected an object with {sorted(keys)}, found {value!r}")
    sums, squares = (_numbers(value[key], f"observations.{key}") for key in ("sums", "squares"))
    _expect(len(sums) == len(squares) > 0, "observations", "as many sums as squares", (len(sums), len(squares)))
    return Moments(count_from_json(value["count"], "observations.count"), sums, squares)
