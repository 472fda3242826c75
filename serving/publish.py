"""Publishing: a list is public as a whole or not at all, and never before its hold-out is written down.

Four steps, each of which either happened or did not, whatever kills the process in between:

1. every file is written to a hidden folder and forced to the disk;
2. the folder is renamed to its own name `published/<as_of>-<n>`, which nothing points to yet;
3. one transaction writes publication, lists, arms and rows to the ledger;
4. `published/current` is swapped by rename.

Readers follow `current`, so they see a list only when its hold-out is in the ledger. What was killed between 1 and 3
left a folder that the ledger does not know: it is thrown away. What was killed between 3 and 4 is public by the
ledger's word and only lacks its pointer: the next one to look sets it. The same inputs are published once: whoever
scores the same day with the same bundle, store, settings and ledger gets the list that is there.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from features.errors import BadData, CannotWrite, MissingInput, TryAgain
from features.windows import to_date
from serving.ledger import Ledger

LISTS = ("early-warning", "retention", "win-back")
HELD = "hold-out"
LEFT = "left"
FORECASTS = "forecasts"
MANIFEST = "manifest.json"


@dataclass(frozen=True)
class Draft:
    """Lists ready to be published: what goes into the files and what goes into the ledger.

    tables    the files' tables by name: the three lists as they are shown, hold-out, left, forecasts
    summary   what is said of the lists as a whole (JSON values only)
    inputs    digest of everything the lists were made from
    entries   ledger rows without their list_id, with a column `name`; `assignments` and `quarters` as the draw gave
    them,
              with the column `name` of the list entered first
    """

    as_of: int
    horizon: int
    bundle: str
    skill: bool
    inputs: str
    tables: Mapping[str, pd.DataFrame]
    summary: Mapping[str, Any]
    entries: pd.DataFrame
    assignments: pd.DataFrame
    quarters: Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Published:
    """A publication on disk. Everything is read from its own folder, never through `current`, so that one reader sees
    one publication whatever is published meanwhile."""

    folder: Path
    id: str
    as_of: int
    summary: Mapping[str, Any]

    @classmethod
    def at(cls, folder: Path) -> Published:
        """The publication in a folder. Raises MissingInput where there is none, BadData where a file is not what its
        manifest says."""
        manifest = _manifest(folder)
        for name, said in manifest["files"].items():
            _same(folder / name, said)
        summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
        return cls(folder, manifest["id"], manifest["as_of"], summary)

    def rows(self, name: str) -> pd.DataFrame:
        """One of the three lists as it is shown: without the held-out.

        Raises MissingInput for a name that is no list.
        """
        if name not in LISTS:
            raise MissingInput("there is no such list", allowed=", ".join(LISTS), got=name)
        return self._read(name)

    def list_id(self, name: str) -> str:
        """The id under which a list stands in the ledger."""
        return f"{name}-{self.id}"

    @cached_property
    def held_out(self) -> pd.DataFrame:
        """The held-out of all lists, a column `list` telling which: for the engineer, never for an export."""
        return self._read(HELD)

    @cached_property
    def left(self) -> pd.DataFrame:
        """Who stood on the list before and does not any more, and why: list, customer_id, why."""
        return self._read(LEFT)

    @cached_property
    def forecasts(self) -> pd.DataFrame:
        """The forecast of every customer, listed or not."""
        return self._read(FORECASTS)

    def _read(self, name: str) -> pd.DataFrame:
        rows: pd.DataFrame = pq.read_table(self.folder / f"{name}.parquet").to_pandas()
        return rows


def current(var: Path, ledger: Ledger | None = None) -> Published:
    """What is published now. With a ledger at hand an interrupted publication is finished first.

    Raises MissingInput where nothing has been published.
    """
    home = var / "published"
    if ledger is not None:
        with contextlib.suppress(TryAgain, CannotWrite), _lock(home):
            _finish(home, ledger)
    try:
        return Published.at(home / os.readlink(home / "current"))
    except OSError:
        raise MissingInput("nothing has been published", where=str(home), do="run `holdfast score` first") from None


def at_day(var: Path, ledger: Ledger, as_of: date) -> Published:
    """The last publication of a day. Raises MissingInput where there is none, naming the days there are."""
    there = ledger.publications()
    days = pd.to_datetime(there["as_of"]).dt.date
    chosen = there[days == as_of]
    if chosen.empty:
        known = ", ".join(sorted({str(day) for day in days})[-8:]) or "none"
        raise MissingInput("no list was published for that day", allowed=known, got=str(as_of))
    return Published.at(var / "published" / chosen["folder"].iloc[-1])


def publish(draft: Draft, var: Path, ledger: Ledger) -> Published:
    """Make a draft public, or answer with the publication that the same inputs have already made.

    Raises TryAgain where somebody else is publishing, CannotWrite where a disk refuses.
    """
    home = var / "published"
    with _lock(home):
        there = _finish(home, ledger)
        if (same := _same_inputs(there, draft.inputs, home, ledger)) is not None:
            return same
        number = 1 + int((pd.to_datetime(there["as_of"]).dt.date == to_date(draft.as_of)).sum())
        return _publish(draft, home, ledger, number)


def again(inputs: str, var: Path, ledger: Ledger) -> Published | None:
    """The publication that the same inputs have made, shown again; None where there is none."""
    home = var / "published"
    with _lock(home):
        return _same_inputs(_finish(home, ledger), inputs, home, ledger)


def _same_inputs(there: pd.DataFrame, inputs: str, home: Path, ledger: Ledger) -> Published | None:
    same = there[there["inputs"] == inputs]
    if same.empty:
        return None
    folder = str(same["folder"].iloc[-1])
    if _last_shown(ledger) != folder:
        ledger.note("score", "shown again", str(same["id"].iloc[-1]))
        _point(home, folder)
    return Published.at(home / folder)


def take_out(customer_id: str, var: Path, ledger: Ledger) -> int:
    """Remove a person from the files of every publication; from how many. Each is written anew beside the old one and
    then takes its place, so that a kill leaves either."""
    home, changed = var / "published", 0
    if not home.is_dir():
        return 0
    with _lock(home):
        for _, row in _finish(home, ledger).iterrows():
            changed += _take_out(customer_id, home, ledger, dict(row))
        _finish(home, ledger)
    return changed


def _take_out(customer_id: str, home: Path, ledger: Ledger, row: Mapping[str, Any]) -> int:
    old = Published.at(home / row["folder"])
    tables = {name: old._read(name) for name in (*LISTS, HELD, LEFT, FORECASTS)}
    if not any((rows["customer_id"] == customer_id).any() for rows in tables.values()):
        return 0
    without = {name: rows[rows["customer_id"] != customer_id] for name, rows in tables.items()}
    edition = 1 + int(row["folder"].partition(".e")[2] or 0)
    name = f"{old.id}.e{edition}"
    digest = write(home / f".{name}", old.id, old.as_of, without, old.summary)
    os.rename(home / f".{name}", home / name)
    _sync(home)
    ledger.move(old.id, name, digest)
    return 1


def _publish(draft: Draft, home: Path, ledger: Ledger, number: int) -> Published:
    name = f"{to_date(draft.as_of)}-{number}"
    hidden = home / f".{name}"
    digest = write(hidden, name, draft.as_of, draft.tables, draft.summary)
    os.rename(hidden, home / name)
    _sync(home)
    ledger.publish(**_for_ledger(draft, name, number, digest))
    _point(home, name)
    return Published.at(home / name)


def _for_ledger(draft: Draft, name: str, number: int, digest: str) -> dict[str, Any]:
    """The arguments of Ledger.publish."""
    day = to_date(draft.as_of)
    ids = {one: f"{one}-{name}" for one in LISTS}
    publication = {
        "id": name,
        "as_of": day,
        "number": number,
        "bundle": draft.bundle,
        "skill": draft.skill,
        "horizon": draft.horizon,
        "inputs": draft.inputs,
        "folder": name,
        "digest": digest,
        "summary": json.dumps(draft.summary, ensure_ascii=False, sort_keys=True),
    }
    lists = [
        {
            "id": ids[one],
            "publication": name,
            "name": one,
            "as_of": day,
            "closes": day + timedelta(days=draft.horizon),
            "shown": len(draft.tables[one]),
            "held_out": int((draft.tables[HELD]["list"] == one).sum()),
            "exempt": int(((draft.entries["name"] == one) & (draft.entries["arm"] == "exempt")).sum()),
        }
        for one in LISTS
    ]
    entries, arms = (
        table.assign(list_id=table["name"].map(ids)).drop(columns="name")
        for table in (draft.entries, draft.assignments)
    )
    return {
        "publication": publication,
        "lists": lists,
        "entries": entries,
        "assignments": arms.assign(entered=day),
        "quarters": draft.quarters,
    }


def write(folder: Path, name: str, as_of: int, tables: Mapping[str, pd.DataFrame], summary: Mapping[str, Any]) -> str:
    """Write the files of a publication and force them to the disk; the digest of its manifest. Raises CannotWrite."""
    try:
        if folder.exists():
            shutil.rmtree(folder)
        folder.mkdir(parents=True)
        for table, rows in tables.items():
            _write(folder / f"{table}.parquet", parquet_bytes(rows))
        _write(folder / "summary.json", _json(summary))
        files = {path.name: _digest(path) for path in sorted(folder.iterdir())}
        _write(folder / MANIFEST, _json({"id": name, "as_of": as_of, "files": files}))
        _sync(folder)
        return _digest(folder / MANIFEST)
    except OSError as error:
        raise CannotWrite("the lists cannot be written", where=str(folder), got=str(error)) from None


def parquet_bytes(rows: pd.DataFrame) -> bytes:
    """A table as Parquet, the same bytes for the same rows."""
    sink = pa.BufferOutputStream()
    table = pa.Table.from_pandas(rows, preserve_index=False).replace_schema_metadata(None)
    pq.write_table(table, sink, compression="zstd", store_schema=False)
    return bytes(sink.getvalue().to_pybytes())


def _finish(home: Path, ledger: Ledger) -> pd.DataFrame:
    """Clear away what a killed publication left, or finish it; the ledger's publications. The lock is held."""
    there = ledger.publications()
    known = set(there["folder"])
    for folder in sorted(home.iterdir()) if home.is_dir() else []:
        if folder.is_dir() and not folder.is_symlink() and folder.name not in known:
            shutil.rmtree(folder)
    if len(there) and _pointed(home) != (last := _last_shown(ledger)):
        _point(home, last)
    return there


def _pointed(home: Path) -> str:
    """Where `current` points; empty where it does not."""
    try:
        return os.readlink(home / "current")
    except OSError:
        return ""


def _last_shown(ledger: Ledger) -> str:
    """The folder of what was shown last, whatever its day."""
    trail = ledger.audit_trail()
    said = trail[trail["what"].isin(["published", "shown again"])]
    there = ledger.publications().set_index("id")["folder"]
    return str(there[said["subject"].iloc[-1]]) if len(said) else ""


def _point(home: Path, folder: str) -> None:
    """Swap `current` in one step."""
    aside = home / ".current"
    try:
        aside.unlink(missing_ok=True)
        aside.symlink_to(folder)
        os.replace(aside, home / "current")
        _sync(home)
    except OSError as error:
        raise CannotWrite("the published list cannot be pointed to", where=str(home), got=str(error)) from None


@contextlib.contextmanager
def _lock(home: Path) -> Iterator[None]:
    """One publisher at a time; the lock dies with its process. Raises TryAgain, CannotWrite."""
    try:
        home.mkdir(parents=True, exist_ok=True)
        handle = os.open(home / ".lock", os.O_CREAT | os.O_RDWR)
    except OSError as error:
        raise CannotWrite("the folder of lists cannot be written", where=str(home), got=str(error)) from None
    try:
        _take(handle, home)
        yield
    finally:
        os.close(handle)


def _take(handle: int, home: Path) -> None:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise TryAgain("somebody else is publishing", where=str(home), do="run the command again in a moment") from None


def _write(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _sync(folder: Path) -> None:
    """Force a folder's entries to the disk."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _json(value: Mapping[str, Any]) -> bytes:
    return (json.dumps(value, ensure_ascii=False, indent=1, sort_keys=True, allow_nan=False) + "\n").encode()


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _manifest(folder: Path) -> dict[str, Any]:
    try:
        return dict(json.loads((folder / MANIFEST).read_text(encoding="utf-8")))
    except FileNotFoundError:
        raise MissingInput("there is no list here", where=str(folder), do="run `holdfast score`") from None
    except ValueError:
        raise BadData("the list's manifest is damaged", where=str(folder), do="run `holdfast score` again") from None


def _same(path: Path, said: str) -> None:
    if not path.exists() or _digest(path) != said:
        raise BadData("a file of the published list was changed", where=str(path), do="run `holdfast score` again")
