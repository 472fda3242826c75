"""Writing that survives a kill: new files beside the old ones, made durable, then one rename that makes them true.

A generation is true when `CURRENT` names its manifest. A writer that is killed before that has changed nothing; what it
left is removed by the next one. One writer at a time holds the folder.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from features.block import Ints
from features.errors import BadData, CannotWrite, MissingInput, TryAgain
from features.intake import Quarantine
from features.manifest import FileEntry, Manifest, TableEntry, current
from features.rows import NEVER, SHAPES, UNDATED, Rows, Shape, to_arrow
from features.store import HistoryStore

REFUSED = "quarantine-refused.csv"


@dataclass
class MarketSum:
    """The market added up bucket by bucket."""

    visits: Counter[int] = field(default_factory=Counter)
    firsts: Counter[int] = field(default_factory=Counter)
    spend: Counter[int] = field(default_factory=Counter)

    def add(self, rows: Rows) -> None:
        """Purchases of whole customers, sorted by customer and day."""
        if not len(rows):
            return
        opens = np.ones(len(rows), bool)
        opens[1:] = rows.who[1:] != rows.who[:-1]
        _count(self.visits, rows.day, np.ones(len(rows), np.int64))
        _count(self.firsts, rows.day[opens], np.ones(int(opens.sum()), np.int64))
        _count(self.spend, rows.day, rows.numbers["amount"])

    def table(self) -> pa.Table:
        days = np.arange(min(self.visits, default=0), max(self.visits, default=-1) + 1)
        columns = {"day": days}
        for name in ("visits", "firsts", "spend"):
            counts: Counter[int] = getattr(self, name)
            columns[name] = np.array([counts[int(day)] for day in days], np.int64)
        return pa.table(columns)


def _count(counts: Counter[int], days: Ints, values: Ints) -> None:
    first = int(days.min())
    sums = np.zeros(int(days.max()) - first + 1, np.int64)
    np.add.at(sums, days - first, values)
    counts.update({first + int(i): int(sums[i]) for i in np.flatnonzero(sums)})


@dataclass
class Stat:
    """What a stored table of a part adds up to."""

    rows: int = 0
    first: int = NEVER
    last: int = -1
    sums: Counter[str] = field(default_factory=Counter)
    numbers: dict[str, None] = field(default_factory=dict)
    words: dict[str, None] = field(default_factory=dict)

    def add(self, rows: Rows) -> None:
        self.numbers.update(dict.fromkeys(rows.numbers))
        self.words.update(dict.fromkeys(rows.words))
        days = rows.day[rows.day != UNDATED]
        self.rows += len(rows)
        self.first = min(self.first, int(days.min(initial=NEVER)))
        self.last = max(self.last, int(days.max(initial=-1)))
        for name, values in rows.numbers.items():
            if name not in ("order", "orders", "sessions") and not name.startswith("_"):
                self.sums[name] += int(values.sum())


def _entry(shape: Shape, declared: TableEntry | None, stat: Stat | None) -> TableEntry:
    stat = stat or Stat()
    numbers = dict.fromkeys(declared.numbers if declared else ()) | stat.numbers
    words = dict.fromkeys(declared.words if declared else ()) | stat.words
    if shape.distinct == "orders":
        numbers["orders"] = None
    return TableEntry(
        tuple(numbers),
        tuple(words),
        stat.first if stat.first != NEVER else None,
        stat.last if stat.last >= 0 else None,
        declared is not None and declared.declared,
        stat.rows,
        dict(stat.sums),
    )


class PartWriter:
    """A part being written: one Parquet file a table, one row group a bucket."""

    def __init__(self, folder: Path, buckets: int) -> None:
        self.folder, self.buckets = folder, buckets
        self.writers: dict[str, pq.ParquetWriter] = {}
        self.groups: dict[str, list[int]] = {}
        self.stats: dict[str, Stat] = {}
        self.words: dict[str, tuple[str, ...]] = {}

    def __enter__(self) -> PartWriter:
        return self

    def __exit__(self, *problem: object) -> None:
        for writer in self.writers.values():
            writer.close()

    def add_bucket(self, bucket: int, ids: pa.Table, tables: Mapping[str, Rows], market: MarketSum) -> None:
        """One bucket's customers and collapsed tables; its purchases go into the market too."""
        self.add(bucket, "ids", ids)
        for name, rows in tables.items():
            self.add_rows(bucket, name, rows)
        if "purchases" in tables:
            market.add(tables["purchases"])

    def entries(self, promised: Mapping[str, TableEntry]) -> dict[str, TableEntry]:
        """What the part says of each stored table; promised ones without rows are there too."""
        names = [name for name in SHAPES if name in promised or name in self.stats]
        return {name: _entry(SHAPES[name], promised.get(name), self.stats.get(name)) for name in names}

    def add_rows(self, bucket: int, name: str, rows: Rows) -> None:
        if len(rows):
            self.stats.setdefault(name, Stat()).add(rows)
            self.add(bucket, name, to_arrow(rows))

    def add(self, bucket: int, name: str, table: pa.Table) -> None:
        if not table.num_rows:
            return
        if name not in self.writers:
            words = [f.name for f in table.schema if pa.types.is_dictionary(f.type)]
            self.writers[name] = pq.ParquetWriter(
                self.folder / f"{name}.parquet",
                table.schema,
                use_dictionary=words,
                column_encoding={f.name: "DELTA_BINARY_PACKED" for f in table.schema if pa.types.is_integer(f.type)},
                compression="lz4",
                write_statistics=False,
                write_page_checksum=True,
                dictionary_pagesize_limit=1 << 30,
            )
            self.groups[name] = [0] * self.buckets
            self.words[name] = tuple(words)
        self.groups[name][bucket] = table.num_rows
        self.writers[name].write_table(table, row_group_size=table.num_rows)


class Desk:
    """The one writer's place in a store's folder: what is new lies beside what is true until it is published."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.spill = folder / ".spill"

    def clean(self) -> None:
        """Remove what no manifest names: left by a killed writer, or by the generation before."""
        manifest = manifest_of(self.folder)
        if manifest is None:
            return
        keep = {self.folder / entry.path for entry in manifest.entries()}
        keep |= {self.folder / ".lock", self.folder / "CURRENT"}
        keep.add(self.folder / (self.folder / "CURRENT").read_text(encoding="utf-8").strip())
        for path in sorted(self.folder.rglob("*"), reverse=True):
            if path.is_dir() and not path.is_symlink():
                if not any(path.iterdir()):
                    path.rmdir()
            elif path not in keep:
                path.unlink()

    def next_name(self) -> str:
        """A number that nothing in the folder has had."""
        digits = [d for path in self.folder.rglob("*") for d in re.findall(r"\d{6}", path.name)]
        return f"{max(map(int, digits), default=0) + 1:06d}"

    def new_part(self, name: str) -> Path:
        folder = self.folder / "parts" / f".new-{name}"
        folder.mkdir(parents=True)
        return folder

    def settle(self, name: str, writer: PartWriter) -> dict[str, FileEntry]:
        """The part's files made durable and moved to their place."""
        place = self.folder / "parts" / name
        files = {}
        for table in writer.writers:
            file = writer.folder / f"{table}.parquet"
            files[table] = _entry_of(file, f"parts/{name}/{table}.parquet", tuple(writer.groups[table]))
        _sync(writer.folder)
        os.rename(writer.folder, place)
        _sync(place.parent)
        return files

    def write_market(self, name: str, market: MarketSum) -> FileEntry:
        file = self.folder / f"market-{name}.parquet"
        table = market.table()
        pq.write_table(table, file, compression="lz4", write_page_checksum=True)
        return _entry_of(file, file.name, (table.num_rows,))

    def write_quarantine(self, name: str, quarantine: Quarantine) -> tuple[FileEntry, ...]:
        if not quarantine.rows:
            return ()
        return (self._write_csv(f"quarantine-{name}.csv", quarantine.table()),)

    def write_refused(self, quarantine: Quarantine) -> None:
        """The bad rows of a table that was refused, to be looked at; the next writer removes them."""
        if quarantine.rows:
            self._write_csv(REFUSED, quarantine.table())

    def quarantine_without(self, name: str, entries: Sequence[FileEntry], gone: str) -> tuple[FileEntry, ...]:
        """The quarantined rows that do not show an id."""
        left = []
        for entry in entries:
            text = pa.string()
            convert = pacsv.ConvertOptions(column_types=dict.fromkeys(("value", "reason", "column"), text))
            rows = pacsv.read_csv(self.folder / entry.path, convert_options=convert)
            left.append(rows.filter(pc.invert(pc.match_substring(rows["value"], gone))))
        rows = pa.concat_tables(left, promote_options="permissive") if left else None
        return () if rows is None or not rows.num_rows else (self._write_csv(f"quarantine-{name}.csv", rows),)

    def _write_csv(self, name: str, rows: pa.Table) -> FileEntry:
        pacsv.write_csv(rows, self.folder / name)
        return _entry_of(self.folder / name, name, (rows.num_rows,))

    def counted_again(self, manifest: Manifest) -> Manifest:
        """The manifest with its market and its customers counted over all parts."""
        store = HistoryStore(self.folder, manifest.to_json())
        market, customers = MarketSum(), 0
        for bucket in range(manifest.buckets):
            rows, ids = store.purchase_days(bucket)
            market.add(rows)
            customers += ids
        return replace(manifest, market=self.write_market(f"{manifest.generation:06d}", market), customers=customers)

    def publish(self, manifest: Manifest) -> HistoryStore:
        """Make a generation true: its manifest, then `CURRENT`, each by a rename; then remove the one before."""
        name = f"manifest-{manifest.generation:06d}.json"
        _write_whole(self.folder / name, manifest.to_json())
        _write_whole(self.folder / "CURRENT", f"{name}\n".encode())
        self.clean()
        return HistoryStore(self.folder)


def manifest_of(folder: Path) -> Manifest | None:
    """The manifest in force; None where there is none or it cannot be read (then a new store is built over it)."""
    try:
        return Manifest.from_json(current(folder))
    except (MissingInput, BadData, KeyError, TypeError, ValueError):
        return None


def _entry_of(file: Path, path: str, groups: tuple[int, ...]) -> FileEntry:
    with open(file, "rb") as handle:
        os.fsync(handle.fileno())
        digest = hashlib.file_digest(handle, "sha256").hexdigest()
        size = handle.tell()
    return FileEntry(path, sum(groups), size, digest, groups)


def _write_whole(file: Path, data: bytes) -> None:
    """All of the file or none of it."""
    new = file.with_name(f".new-{file.name}")
    with open(new, "wb") as handle:
        handle.write(data)
        handle.flush()
        os.fsync(handle.fileno())
    os.rename(new, file)
    _sync(file.parent)


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def writing(folder: Path) -> Iterator[Desk]:
    """The store's folder, held by one writer. Raises TryAgain if another holds it, CannotWrite if a disk refuses."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with open(folder / ".lock", "w", encoding="utf-8") as lock:
            _hold(lock, folder)
            desk = Desk(folder)
            desk.clean()
            try:
                yield desk
            finally:
                shutil.rmtree(desk.spill, ignore_errors=True)
    except OSError as error:
        raise CannotWrite(
            "the history store cannot be written", where=str(error.filename or folder), got=error.strerror
        ) from None


def _hold(lock: Any, folder: Path) -> None:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise TryAgain(
            "another command is writing the history store", where=str(folder), do="wait for it, then run again"
        ) from None
