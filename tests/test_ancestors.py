"""Room for weights: who waits is served in turn, and what cannot be is an error at once."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import pytest

from gadask.errors import NodeError
from gadask.genomes.genome import Genome
from gadask.node.ancestors import Ancestors, Decoding
from tests.conftest import wait_until


class Chunk(threading.Thread):
    """Uses genomes until it is told to end."""

    def __init__(self, ancestors: Ancestors, *genomes: Genome) -> None:
        super().__init__(daemon=True)
        self.playing, self.end = threading.Event(), threading.Event()
        self.error = ""
        self._ancestors, self._genomes = ancestors, genomes
        self.start()

    def run(self) -> None:
        try:
            with self._ancestors.ready(self._genomes, self._genomes):
                self.playing.set()
                self.end.wait(60)
        except NodeError as error:
            self.error = str(error)


@pytest.fixture
def ancestors() -> Ancestors:
    return Ancestors(2, lambda decodings: None)


def test_those_that_come_later_do_not_keep_the_first_in_line_from_its_room(ancestors: Ancestors) -> None:
    playing = [Chunk(ancestors, (1,), (2,))]
    wait_until(playing[0].playing.is_set, 20, "all rows are pinned")
    needs_room = Chunk(ancestors, (3,))
    wait_until(lambda: ancestors.n_waiting == 1, 20, "it waits")
    later = Chunk(ancestors, (1,), (2,))  # whose weights are there
    wait_until(lambda: ancestors.n_waiting == 2, 20, "it waits too")
    playing[0].end.set()
    wait_until(needs_room.playing.is_set, 20, "the first in line has room")
    assert not later.playing.is_set()
    needs_room.end.set()
    wait_until(later.playing.is_set, 20, "then the next has")
    later.end.set()
    later.join(20)
    assert ancestors.n_waiting == 0


def test_all_that_wait_hear_of_the_end(ancestors: Ancestors) -> None:
    first = Chunk(ancestors, (1,), (2,))
    wait_until(first.playing.is_set, 20, "all rows are pinned")
    waiting = [Chunk(ancestors, (3,)), Chunk(ancestors, (4,))]
    wait_until(lambda: ancestors.n_waiting == 2, 20, "they wait")
    ancestors.end("the run has ended")
    for chunk in waiting:
        chunk.join(20)
    assert [chunk.error for chunk in waiting] == ["the run has ended"] * 2
    first.end.set()
    first.join(20)


def test_room_that_never_comes_is_not_waited_for(ancestors: Ancestors) -> None:
    chunk = Chunk(ancestors, (1,), (2,), (3,))
    chunk.join(20)
    assert chunk.error.startswith("a chunk starts from 3 genomes: weights: expected room for 3 more genomes, found 2")


def test_what_cannot_be_decoded_leaves_its_room_to_others() -> None:
    def decode(decodings: Sequence[Decoding]) -> None:
        if any(decoding.genome == (1,) for decoding in decodings):
            raise NodeError("cannot decode")

    ancestors = Ancestors(2, decode)
    failed = Chunk(ancestors, (1,), (2,))
    failed.join(20)
    assert failed.error == "cannot decode"
    other = Chunk(ancestors, (3,), (4,))
    wait_until(other.playing.is_set, 20, "there is room")
    other.end.set()
    other.join(20)


def test_only_what_a_chunk_uses_is_kept_for_it(ancestors: Ancestors) -> None:
    with ancestors.ready([(1,), (2,)], [(1,)]) as rows, ancestors.ready([(3,)], [(3,)]) as others:
        assert rows == {(1,): 0}
        assert others == {(3,): 1}
    with ancestors.ready([(5,), (6,), (7,)], [(5,)]) as rows:  # for the others there is no room
        assert rows is not None
        assert list(rows) == [(5,)]
