"""What is true of one generation of a store: its parts, their files with sha256, its tables with counts and sums.

`CURRENT` names the manifest in force, a manifest names every file. What no manifest names does not exist.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from features.errors import BadData, MissingInput
from features.hashing import NAME as HASH_NAME
from features.rows import SHAPES

FORMAT = 1


@dataclass(frozen=True)
class FileEntry:
    """One file of a part: where it lies under the store, what it holds and what its bytes are. `groups` has the number
    of rows of each bucket; buckets without rows have no row group."""

    path: str
    rows: int
    size: int
    sha256: str
    groups: tuple[int, ...] = ()


@dataclass(frozen=True)
class TableEntry:
    """A stored table: its columns, the first and last day of its records (None: no rows yet), its sums. `declared`: the
    shop has the table even where it has no rows. `since` is the first day its records can speak of."""

    numbers: tuple[str, ...]
    words: tuple[str, ...]
    first_day: int | None
    last_day: int | None
    declared: bool
    rows: int
    sums: Mapping[str, int]
    since: int | None = None


@dataclass(frozen=True)
class Part:
    """What one ingest or append wrote: its files and stored tables, the sources it read (path, table, sha256), and what
    became of their rows."""

    name: str
    files: Mapping[str, FileEntry]
    tables: Mapping[str, TableEntry]
    sources: tuple[Mapping[str, Any], ...]
    counts: Mapping[str, Mapping[str, int]]
    written: Mapping[str, tuple[str, ...]]  # the word columns of each file


@dataclass(frozen=True)
class Manifest:
    """All that is true of one generation of a store. `erased` are salted hashes of the ids that were erased, so that
    their lines are not taken in again."""

    generation: int
    buckets: int
    timezone: str
    currency: str
    exponent: int
    has_amounts: bool
    as_of: int | None
    customers: int
    parts: tuple[Part, ...]
    market: FileEntry
    quarantine: tuple[FileEntry, ...] = ()
    erased: tuple[str, ...] = ()
    hash: str = HASH_NAME
    format: int = FORMAT

    @cached_property
    def tables(self) -> Mapping[str, TableEntry]:
        """The stored tables over all parts."""
        return merged_entries(self.parts)

    def entries(self) -> Iterator[FileEntry]:
        """Every file of this generation."""
        for part in self.parts:
            yield from part.files.values()
        yield self.market
        yield from self.quarantine

    def to_json(self) -> bytes:
        return (json.dumps(asdict(self), sort_keys=True, indent=1, ensure_ascii=False) + "\n").encode()

    @staticmethod
    def from_json(data: bytes) -> Manifest:
        """Raises KeyError, TypeError or ValueError where `data` is no manifest."""
        said = json.loads(data)
        said["parts"] = tuple(_part(part) for part in said["parts"])
        said["market"] = FileEntry(**_tuples(said["market"]))
        said["quarantine"] = tuple(FileEntry(**_tuples(entry)) for entry in said["quarantine"])
        said["erased"] = tuple(said["erased"])
        return Manifest(**said)


def _tuples(entry: dict[str, Any]) -> dict[str, Any]:
    return {key: tuple(value) if isinstance(value, list) else value for key, value in entry.items()}


def _part(said: dict[str, Any]) -> Part:
    files = {name: FileEntry(**_tuples(entry)) for name, entry in said["files"].items()}
    tables = {name: TableEntry(**_tuples(entry)) for name, entry in said["tables"].items()}
    return Part(said["name"], files, tables, tuple(said["sources"]), said["counts"], _tuples(said["written"]))


def merged_entries(parts: Sequence[Part]) -> Mapping[str, TableEntry]:
    """One entry per stored table, in the order of `SHAPES`."""
    found = {}
    for name in SHAPES:
        entries = [part.tables[name] for part in parts if name in part.tables]
        if entries:
            found[name] = _merged_entry(entries)
    return {name: replace(entry, since=_since(name, found)) for name, entry in found.items()}


def _merged_entry(entries: Sequence[TableEntry]) -> TableEntry:
    firsts = [entry.first_day for entry in entries if entry.first_day is not None]
    lasts = [entry.last_day for entry in entries if entry.last_day is not None]
    sums: Counter[str] = Counter()
    for entry in entries:
        sums.update(entry.sums)
    return TableEntry(
        tuple(dict.fromkeys(name for entry in entries for name in entry.numbers)),
        tuple(dict.fromkeys(name for entry in entries for name in entry.words)),
        min(firsts, default=None),
        max(lasts, default=None),
        any(entry.declared for entry in entries),
        sum(entry.rows for entry in entries),
        dict(sums),
    )


def _since(name: str, entries: Mapping[str, TableEntry]) -> int | None:
    """The first day of the records a table is made from; returns that are only negative lines begin with purchases."""
    if name in ("deliveries", "invitations"):
        return entries[name].first_day
    source = "purchases" if name == "returns" and not entries[name].declared else SHAPES[name].of
    return entries[source].first_day if source in entries else entries[name].first_day


def current(folder: Path) -> bytes:
    """The bytes of the manifest in force. Raises MissingInput where there is no store."""
    try:
        name = (folder / "CURRENT").read_text(encoding="utf-8").strip()
        return (folder / name).read_bytes()
    except FileNotFoundError:
        raise MissingInput(
            "there is no history store", where=str(folder), do="run `holdfast ingest` to make one"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise damaged(folder, str(error)) from None


def damaged(folder: Path, how: str) -> BadData:
    return BadData(
        "the history store is damaged", where=str(folder), got=how, do="run `holdfast ingest` to build it anew"
    )
