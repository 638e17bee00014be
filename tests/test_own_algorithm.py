"""The worked example of docs/how-to/own-algorithm.md evolves as the page says; what is no algorithm is refused."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from gadask.algorithms import make_algorithm
from gadask.algorithms.algorithm import (
    Algorithm,
    Behaviour,
    Brood,
    Children,
    Closed,
    Evaluated,
    Json,
    Scored,
    archived,
    described,
    slots_per_task,
)
from gadask.algorithms.truncation import Parents, Truncation
from gadask.config import AlgorithmConfig, Config, GAConfig
from gadask.errors import ConfigError, GadaskError, NodeError
from gadask.genomes.genome import Genome
from gadask.messages import pack_brood, unpack_brood
from gadask.record.directory import read_generations, without_wall_clock
from tests.generations import task_of

ROOT = Path(__file__).parents[1]
EXAMPLES = ROOT / "docs" / "examples"


def run(run_dir: Path, *flags: str) -> list[dict[str, object]]:
    command = [sys.executable, "jobs/run.py", str(EXAMPLES / "own_algorithm.toml"), "--run-dir", str(run_dir)]
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join([str(EXAMPLES), str(ROOT)])}
    result = subprocess.run(
        [*command, "--no-pictures", *flags],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        env=environ,
        timeout=170,
    )
    assert (result.returncode, result.stderr) == (0, "")
    return [without_wall_clock(line) for line in read_generations(run_dir)]


def test_the_page_shows_the_file() -> None:
    shown = (ROOT / "docs" / "how-to" / "own-algorithm.md").read_text().partition("```toml\n")[2].partition("```")[0]
    assert (EXAMPLES / "own_algorithm.toml").read_text().startswith(shown)


def test_it_evolves_alike_on_one_process_and_on_two_nodes(tmp_path: Path) -> None:
    lines = run(tmp_path / "one", "--rollouts-per-node", "1")
    assert len(lines) == 6
    assert run(tmp_path / "two", "--nodes", "2") == lines


@pytest.mark.parametrize("truncation", ["such2017", "ga-dist"])
def test_the_best_have_the_most_children(truncation: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(EXAMPLES)
    kind = AlgorithmConfig("own_algorithm:rank_weighted", {"pressure": 2.0})
    config = replace(Config(), algorithm=kind, ga=GAConfig(truncation=truncation))  # type: ignore[arg-type]
    brood = Brood(1, tuple((gene,) for gene in range(20)))
    rows = make_algorithm(config).children(brood, np.arange(1000), 100).rows
    of_best = rows < 5 if truncation == "such2017" else rows >= 15
    assert 450 < of_best.sum() < 550
    with pytest.raises(ConfigError, match="pressure: expected more than 0, found 0"):
        make_algorithm(replace(config, algorithm=AlgorithmConfig(kind.kind, {"pressure": 0})))


@pytest.mark.parametrize(
    ("kind", "kwargs", "expected"),
    [
        ("nowhere:factory", {}, "algorithm.kind: no module named 'nowhere'"),
        ("math:sqroot", {}, "module 'math' has no function 'sqroot'; did you mean 'sqrt'?"),
        ("math:sqrt", {}, "'math:sqrt' cannot make an algorithm: TypeError: must be real number"),
        ("builtins:repr", {}, "the methods of gadask.algorithms.algorithm.Algorithm, found str without .*children"),
        ("builtins:repr", {"a": 1}, "cannot make an algorithm: TypeError"),
    ],
)
def test_what_is_no_algorithm_is_refused(kind: str, kwargs: dict[str, object], expected: str) -> None:
    with pytest.raises(ConfigError, match=expected):
        make_algorithm(replace(Config(), algorithm=AlgorithmConfig(kind, kwargs)))


@dataclass(frozen=True)
class Wrong(Truncation):
    """Truncation selection that gives one wrong answer."""

    what: str = ""

    def children(self, brood: Brood, slots: NDArray[np.int64], n_genes: int) -> Children:
        made = super().children(brood, slots, n_genes)
        wrong = {
            "row": made._replace(rows=made.rows + 9),
            "gene": made._replace(genes=made.genes - n_genes),
            "weight": made._replace(weights=made.weights * np.nan),
            "shape": made._replace(genes=made.genes[:1]),
            "float": made._replace(genes=made.genes + 0.5),  # type: ignore[arg-type]
        }
        return wrong.get(self.what, made)

    def nominate(self, state: Parents, scored: Sequence[Scored]) -> tuple[Genome, ...]:
        return ((17, (4, 1)),) if self.what == "genome" else super().nominate(state, scored)

    def tell(self, state: Parents, closed: Closed) -> Parents:
        if self.what == "raise":
            raise ValueError("no children\nat all")
        return super().tell(state, closed)

    def bases(self, state: Parents) -> tuple[Genome, ...]:
        return ((5,),) * 30 if self.what == "bases" else super().bases(state)

    def from_json(self, document: Json) -> Parents:
        return super().from_json(document["archive"] if self.what == "reads" else document)

    def describe(self, state: Parents) -> Json:
        if self.what == "describes":
            return {"novelty": float("nan")}
        return [] if self.what == "list" else {"parents": len(state.parents)}  # type: ignore[return-value]

    def archive(self, state: Parents) -> tuple[Behaviour, ...]:
        return ("somewhere",) if self.what == "remembers" else ((1, 2.0),)  # type: ignore[return-value]

    def to_json(self, state: Parents) -> Json:
        document = super().to_json(state)
        if self.what == "keys":
            return {**document, "parents": {1: [5]}}
        return {**document, "parents": []} if self.what == "forgets" else document


def wrong(config: Config, what: str = "") -> Wrong:
    return Wrong(config.seed, config.generation, config.ga, what)


@pytest.mark.parametrize(
    ("what", "expected"),
    [
        ("row", "children: expected rows from -1 to below 2, found"),
        ("gene", "children: expected genes from 0 to below 100, found -"),
        ("weight", "children: expected weights from .* found nan"),
        ("shape", r"children: expected three arrays of shape \(6,\), found \(6,\), \(1,\), \(6,\)"),
        ("float", "Cannot cast"),
        ("genome", "nominate: expected genomes"),
        ("raise", "ValueError: no children at all"),
        ("bases", "bases: expected at most n_bases, which is 20, found 30"),
        ("describes", "ValueError: Out of range float values"),
        ("list", r"describe: expected a dictionary, found \[\]"),
        ("remembers", "ValueError: could not convert string to float"),
        ("keys", "expected a list of genomes"),
        ("forgets", "found another state: no run could be resumed"),
    ],
)
def test_a_wrong_answer_is_one_line(what: str, expected: str) -> None:
    algorithm = make_algorithm(replace(Config(), algorithm=AlgorithmConfig(f"{__name__}:wrong", {"what": what})))
    with pytest.raises(GadaskError, match=expected) as caught:
        ask_everything(algorithm)
    assert "\n" not in str(caught.value)


@dataclass(frozen=True)
class Pairing(Truncation):
    """Truncation selection with a number of slots a task."""

    slots_per_task: Any = 2


@dataclass(frozen=True)
class HalfMoving(Truncation):
    """Truncation selection with some of what moves a centre."""

    def due(self, state: Parents) -> Genome | None:
        return None


def pairing(config: Config, n: Any) -> Pairing:
    return Pairing(config.seed, config.generation, config.ga, n)


def half_moving(config: Config) -> HalfMoving:
    return HalfMoving(config.seed, config.generation, config.ga)


def test_abilities_that_an_algorithm_may_have_are_checked() -> None:
    def made(name: str, **kwargs: Any) -> Algorithm[Any]:
        return make_algorithm(replace(Config(), algorithm=AlgorithmConfig(f"{__name__}:{name}", kwargs)))

    assert slots_per_task(made("pairing", n=2)) == 2
    assert slots_per_task(made("wrong")) == 1
    for n in (0, 1.5, "2"):
        with pytest.raises(ConfigError, match="slots_per_task: expected at least 1, found"):
            made("pairing", n=n)
    with pytest.raises(
        ConfigError, match="Moving beside due, found none of optimiser, update_genes, updates, anchored"
    ):
        made("half_moving")


def ask_everything(algorithm: Algorithm[Any]) -> None:
    state = algorithm.start((5,), 1000)
    algorithm.bases(state)
    made = algorithm.children(Brood(1, ((5,), (6,))), np.arange(6), 100)
    assert [len(column) for column in algorithm.children(Brood(1), np.arange(0), 100)] == [0, 0, 0]
    scored = [Scored((), int(gene), float(slot), slot) for slot, gene in enumerate(made.genes)]
    evaluated = [Evaluated(genome, [1.0]) for genome in algorithm.nominate(state, scored)]
    state = algorithm.tell(state, Closed(0, scored, evaluated))
    assert described(algorithm, state) == {"parents": 6}
    assert archived(algorithm, state) == ((1.0, 2.0),)
    assert algorithm.from_json(algorithm.to_json(state)) == state


def test_a_state_of_another_version_is_one_line() -> None:
    algorithm = make_algorithm(replace(Config(), algorithm=AlgorithmConfig(f"{__name__}:wrong", {"what": "reads"})))
    with pytest.raises(GadaskError, match=r"algorithm\.kind: .*KeyError: 'archive'") as caught:
        algorithm.from_json({"parents": [], "elite": None})
    assert "\n" not in str(caught.value)


def test_right_answers_pass() -> None:
    ask_everything(make_algorithm(replace(Config(), algorithm=AlgorithmConfig(f"{__name__}:wrong"))))


class Silent:
    """A whole algorithm that says nothing in the log and remembers nothing."""

    def __getattr__(self, name: str) -> Any:
        if name in {"describe", "archive"}:
            raise AttributeError(name)
        return getattr(wrong(Config()), name)


def silent(config: Config) -> Silent:
    return Silent()


def test_an_algorithm_need_not_describe_itself() -> None:
    algorithm = make_algorithm(replace(Config(), algorithm=AlgorithmConfig(f"{__name__}:silent")))
    state = algorithm.start((5,), 1000)
    assert described(algorithm, state) == {}
    assert archived(algorithm, state) == ()


def test_a_node_with_another_version_of_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    config = replace(Config(), algorithm=AlgorithmConfig(f"{__name__}:wrong"))
    task = task_of(config)
    brood = Brood(1, ((5,), (6,)))
    packed = pack_brood(task, brood)
    assert unpack_brood(packed) == (task, brood)
    unpack_brood.cache_clear()
    mine = Wrong.children

    def others(self: Wrong, brood: Brood, slots: NDArray[np.int64], n_genes: int) -> Children:
        return mine(self, brood, slots + 1, n_genes)

    monkeypatch.setattr(Wrong, "children", others)
    with pytest.raises(NodeError, match="other children here than on the master; restart"):
        unpack_brood(packed)
