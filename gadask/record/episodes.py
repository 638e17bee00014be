"""A generation's episodes as a Parquet file: one row per episode, zstd, readable with any Parquet reader.

Rows are sorted by generation, kind, slot and episode, so that equal runs have equal files but for
`WALL_CLOCK_COLUMNS`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from gadask.errors import RecordError
from gadask.messages import Kind, Status
from gadask.record import files
from gadask.rows import ROW

WALL_CLOCK_COLUMNS = ("seconds", "start_s", "process", "node")
"""Columns that differ between two equal runs."""


def episodes_path(run_directory: Path, generation: int) -> Path:
    """Return the file that holds a generation's episodes."""
    return run_directory / "episodes" / f"{generation:06d}.parquet"


def episode_table(
    rows: npt.NDArray[np.void],
    *,
    parent: npt.ArrayLike,
    gene: npt.ArrayLike,
    weight: npt.ArrayLike,
    node: Sequence[str],
    counted: npt.ArrayLike,
    reason: Sequence[str] | None = None,
    behaviour: Sequence[npt.NDArray[np.float32] | None] | None = None,
) -> pa.Table:
    """Return a generation's episodes as a table, in an order that does not depend on when they arrived.

    Arguments have one entry per episode: `rows` of dtype `ROW`; `parent`, row in the generation's parents, −1 for
    none; `gene`, noise index added to it, −1 for none, and `weight`, what its noise is multiplied by; `node`, who
    played it; `counted`, whether selection saw it; `reason`, why it failed, empty where it did not; `behaviour`, None
    where there is none. Columns are those of `ROW`, with `kind` and `status` as lower-case names, and these, the last
    one only if it is given: lists of float32.
    """
    columns: dict[str, Any] = {name: pa.array(np.ascontiguousarray(rows[name])) for name in ROW.names or ()}
    columns["kind"] = _names(rows["kind"], [kind.name for kind in Kind])
    columns["status"] = _names(rows["status"], [status.name for status in Status])
    columns["parent"] = pa.array(np.asarray(parent, dtype=np.int32))
    columns["gene"] = pa.array(np.asarray(gene, dtype=np.int64))
    columns["weight"] = pa.array(np.asarray(weight, dtype=np.float64))
    columns["node"] = pa.array(list(node), type=pa.string()).dictionary_encode()
    columns["counted"] = pa.array(np.asarray(counted, dtype=np.bool_))
    reasons = [""] * len(rows) if reason is None else list(reason)
    columns["reason"] = pa.array(reasons, type=pa.string()).dictionary_encode()
    if behaviour is not None:
        columns["behaviour"] = pa.array(behaviour, type=pa.list_(pa.float32()))
    return pa.table(columns).take(np.lexsort([rows[key] for key in ("episode", "slot", "kind", "generation")]))


def to_parquet(table: pa.Table) -> bytes:
    """Return the content of a Parquet file."""
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd")
    return bytes(sink.getvalue())


def read_episodes(path: Path | str, generation: int) -> pa.Table:
    """Return the episodes of one closed generation, columns as in `episode_table`.

    Raises:
        RecordError: the file is missing or damaged. The run itself does not need it to go on.
    """
    table = episodes_path(Path(path), generation)
    content = files.read(table)
    if content is None:
        raise RecordError(f"{table}: expected the episodes of generation {generation}, found no such file")
    try:
        return pq.ParquetFile(pa.BufferReader(content)).read()
    except (pa.ArrowException, OSError) as error:
        raise RecordError(f"{table}: damaged: {' '.join(str(error).split())}") from None


def _names(codes: npt.NDArray[np.uint8], names: Sequence[str]) -> Any:
    """Return an enumeration's codes, 0 … n − 1, as dictionary-encoded lower-case names."""
    return pa.DictionaryArray.from_arrays(pa.array(codes.astype(np.int8)), pa.array([name.lower() for name in names]))
