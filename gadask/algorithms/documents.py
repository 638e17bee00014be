"""What JSON documents hold of algorithms, read strictly: a wrong type is an error that names the key."""

from __future__ import annotations

import math

from gadask.algorithms.algorithm import Behaviour, Elite, Json
from gadask.errors import GenomeError, RecordError
from gadask.genomes.genome import Genome, from_json, to_json


def expect_keys(document: object, *keys: str, of: str = "") -> Json:
    """Return the document, an object with exactly these keys; `of` is its own key."""
    if not isinstance(document, dict) or document.keys() != set(keys):
        found = sorted(document) if isinstance(document, dict) else repr(document)[:80]
        raise RecordError(f"{of or 'keys'}: expected an object with {sorted(keys)}, found {found}")
    return document


def genomes_from_json(value: object, key: str) -> tuple[Genome, ...]:
    """Return a list of genomes."""
    if not isinstance(value, list):
        raise RecordError(f"{key}: expected a list of genomes, found {value!r}")
    try:
        return tuple(map(from_json, value))
    except GenomeError as error:
        raise RecordError(f"{key}: {error}") from None


def behaviours_from_json(value: object, key: str) -> tuple[Behaviour, ...]:
    """Return a list of behaviours, all of one length."""
    vectors = value if isinstance(value, list) and all(isinstance(vector, list) for vector in value) else None
    if vectors is None or len({len(vector) for vector in vectors}) > 1:
        raise RecordError(f"{key}: expected a list of behaviours, all of one length, found {str(value)[:80]}")
    return tuple(tuple(number_from_json(entry, key) for entry in vector) for vector in vectors)


def elite_to_json(elite: Elite | None) -> Json | None:
    """Return an elite as an object; None of none."""
    if elite is None:
        return None
    return {
        "genome": to_json(elite.genome),
        "mean": elite.mean,
        "episodes": elite.episodes,
        "generation": elite.generation,
    }


def elite_from_json(value: object, key: str) -> Elite | None:
    """Return the elite that `elite_to_json` was given."""
    if value is None:
        return None
    document = expect_keys(value, "genome", "mean", "episodes", "generation", of=key)
    return Elite(
        genome=genomes_from_json([document["genome"]], f"{key}.genome")[0],
        mean=number_from_json(document["mean"], f"{key}.mean"),
        episodes=count_from_json(document["episodes"], f"{key}.episodes"),
        generation=count_from_json(document["generation"], f"{key}.generation"),
    )


def count_from_json(value: object, key: str) -> int:
    """Return an integer of at least 0."""
    if type(value) is int and value >= 0:
        return value
    raise RecordError(f"{key}: expected an integer of at least 0, found {value!r}")


def number_from_json(value: object, key: str) -> float:
    """Return a finite number."""
    if type(value) in (int, float) and math.isfinite(value):  # type: ignore[arg-type]
        return value  # type: ignore[return-value]
    raise RecordError(f"{key}: expected a finite number, found {value!r}")
