"""Where tables come from: CSV, CSV.gz, Parquet, globs of them, or a table of a database; read batch by batch.

The reader knows files and names, nothing of meaning. A CSV is read with every column as text, because a reader that
guesses types turns '00123' into 123 and 'NA' into nothing; `tables.conform` gives the types. Every batch knows its file
and its place in it, so that a row that cannot be used can be named by line.
"""

from __future__ import annotations

import csv
import difflib
import glob
import gzip
import hashlib
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from features.errors import BadConfiguration, BadData, MissingInput, ServiceAway, UsageError
from features.tables import Contract, DayOrder

ROWS = 1 << 19  # rows a batch: large enough to be fast, small enough that a few in flight stay under 1 GB
CSV_BLOCK = 1 << 25  # bytes
DELIMITERS = ",;\t|"
CSV_ENDINGS = (".csv", ".csv.gz", ".tsv", ".tsv.gz", ".txt", ".txt.gz")
PARQUET_ENDINGS = (".parquet", ".pq", ".parq")


@dataclass(frozen=True)
class Source:
    """One table's files (or one database table), with the shop's names of our columns and the filter."""

    table: str
    files: tuple[str, ...]
    columns: Mapping[str, str] = field(default_factory=dict)
    only: Mapping[str, Sequence[str]] = field(default_factory=dict)
    database_table: str | None = None


@dataclass(frozen=True)
class Batch:
    """Rows under our names. `place` of the file in its source, `first` the number of the batch's first row in the
    file (the first row is 0); `skipped` rows that had too many or too few fields, by line and text."""

    file: str
    place: int
    first: int
    rows: pa.Table
    skipped: tuple[tuple[int, str], ...] = ()


def source_of(
    table: str, path: str, columns: Mapping[str, str], only: Mapping[str, Sequence[str]], name: str | None
) -> Source:
    """Find a table's files. Raises MissingInput where there are none, UsageError where a database has no table name."""
    if "://" in path:
        if not name:
            raise UsageError(
                "a database URL needs a table name", where=f"[tables.{table}]", do='add table = "..." beside path'
            )
        return Source(table, (path,), columns, only, name)
    return Source(table, tuple(_files(table, path)), columns, only)


def _files(table: str, path: str) -> list[str]:
    files = sorted(glob.glob(path)) if any(c in path for c in "*?[") and not Path(path).exists() else [path]
    if not files:
        raise MissingInput("no file fits the pattern", where=f"[tables.{table}] path = {path}")
    for file in files:
        _present(table, Path(file))
    return files


def _present(table: str, file: Path) -> None:
    where = f"[tables.{table}] path = {file}"
    if file.is_dir():
        raise MissingInput(
            "the table is a folder, not a file", where=where, do=f"name its files, such as {file}/*.parquet"
        )
    if not file.exists():
        near = difflib.get_close_matches(file.name, [f.name for f in file.parent.glob("*")], 1)
        raise MissingInput(
            "there is no such file",
            where=where,
            do=f"did you mean {file.parent / near[0]}?" if near else "mend the path",
        )
    if not str(file).lower().endswith(CSV_ENDINGS + PARQUET_ENDINGS):
        raise UsageError(
            "the file's ending does not say what it is",
            where=where,
            allowed=", ".join(CSV_ENDINGS + PARQUET_ENDINGS),
            got=file.suffix or "no ending",
        )


def sha256_of(file: str | Path) -> str:
    """The sha256 of a file's bytes."""
    with open(file, "rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def shown(file: str) -> str:
    """A source's name without the password a database URL may hold."""
    if "://" not in file:
        return file
    from sqlalchemy.engine import make_url

    return make_url(file).render_as_string(hide_password=True)


def rows_guessed(source: Source) -> int:
    """About how many rows a source has: exact for Parquet, from the size for CSV, 0 for a database."""
    total = 0
    for file in source.files:
        if "://" in file:
            continue
        if file.lower().endswith(PARQUET_ENDINGS):
            total += _parquet(file).metadata.num_rows
        else:
            total += Path(file).stat().st_size // (12 if file.endswith(".gz") else 40)
    return total


def header(source: Source, file: str) -> list[str]:
    """The columns of a file as it names them. Raises BadData where two have one name or there are none."""
    if "://" in file:
        names = list(_database_names(source))
    elif file.lower().endswith(PARQUET_ENDINGS):
        names = list(_parquet(file).schema_arrow.names)
    else:
        names = _csv_head(file)[0]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise BadData("two columns have the same name", where=shown(file), got=", ".join(twice), do="rename one")
    return names


def names_of(source: Source, contract: Contract) -> dict[str, str]:
    """ours -> theirs for every column of the contract that a file of the source has.

    Raises BadConfiguration where `columns` or `only` name what is not there, BadData where a required one is missing.
    """
    have: dict[str, None] = {}
    for file in source.files:
        have.update(dict.fromkeys(header(source, file)))
    theirs = list(have)
    where = f"[tables.{source.table}] of {shown(source.files[0])}"
    for ours in source.columns:
        if ours not in contract.names:
            raise BadConfiguration(
                f"columns names {ours!r}, which {source.table} does not have",
                where=where,
                allowed=", ".join(contract.names),
                do=_guess(ours, contract.names),
            )
    for ours, name in source.columns.items():
        if name not in have:
            raise BadData(
                f"the column {name!r} (our {ours}) is not in the file",
                where=where,
                got=", ".join(theirs),
                do=_guess(name, theirs),
            )
    taken = {name: source.columns.get(name, name) for name in contract.names}
    found = {ours: name for ours, name in taken.items() if name in have}
    missing = [name for name in contract.required if name not in found and not _joinable(name, found, contract)]
    if missing:
        raise BadData(
            f"{source.table} lacks the column{'s' if len(missing) > 1 else ''} {', '.join(missing)}",
            where=where,
            allowed=f"required: {', '.join(contract.required)}",
            got=", ".join(theirs) or "no columns",
            do="; ".join(_name_it(name, theirs, found) for name in missing),
        )
    for name in source.only:
        if name not in found and name not in have:
            raise BadConfiguration(
                f"only names the column {name!r}, which is not there",
                where=where,
                got=", ".join(theirs),
                do=_guess(name, theirs),
            )
    return found


def _joinable(name: str, found: Mapping[str, str], contract: Contract) -> bool:
    """A table without customer_id may take it from the order its rows belong to."""
    return name == "customer_id" and contract.name != "purchases" and "order_id" in found


def _name_it(ours: str, theirs: Sequence[str], found: Mapping[str, str]) -> str:
    free = [name for name in theirs if name not in found.values()]
    near = difflib.get_close_matches(ours.lower(), [name.lower() for name in free], 1, cutoff=0.5)
    hit = next((name for name in free if near and name.lower() == near[0]), "THEIRS")
    return f'say which it is: columns = {{ {ours} = "{hit}" }}'


def _guess(word: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(word, known, 1, cutoff=0.5)
    return f"did you mean {near[0]!r}?" if near else "mend the name"


def peek(source: Source, rows: int) -> pa.Table:
    """The first rows of a source with every column, under the shop's own names."""
    file = source.files[0]
    names = header(source, file)
    for table, _ in _raw(source, file, names, []):
        return table.slice(0, rows)
    return pa.table({name: pa.array([], pa.string()) for name in names})


_DAY_FIRST = r"^\s*(?P<first>\d{1,2})[-/.](?P<second>\d{1,2})[-/.]\d{4}"


def day_order(source: Source, theirs: str, usual: DayOrder = "") -> DayOrder:
    """Whether texts such as 03/04/2019 say the day first ("dmy") or the month ("mdy"); "" where there are none.

    All of them are looked at: a 13 or more in one place decides. Raises BadData where both or neither place has one,
    unless `usual` (what earlier files of the table said) helps with the latter.
    """
    first = second = 0
    for file in source.files:
        for rows, _ in _raw(source, file, [theirs], []):
            if not _is_text(rows[theirs].type):
                break
            parts = pc.extract_regex(rows[theirs].combine_chunks(), _DAY_FIRST)
            if parts.null_count == len(parts):
                break  # the first rows of a file decide whether it holds such texts at all
            first = max(first, _greatest(parts, "first"))
            second = max(second, _greatest(parts, "second"))
    if not first:
        return ""
    if (first > 12) == (second > 12):
        if first <= 12 and usual:
            return usual
        raise BadData(
            "the dates do not say whether the day or the month comes first",
            where=f"{shown(source.files[0])}, column {theirs}",
            got="neither number goes beyond 12" if first <= 12 else "both numbers go beyond 12",
            do="write them as YYYY-MM-DD",
        )
    return "dmy" if first > 12 else "mdy"


def _greatest(parts: pa.Array, name: str) -> int:
    return int(pc.max(pc.struct_field(parts, name).cast(pa.int64())).as_py() or 0)


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def batches(source: Source, contract: Contract, names: Mapping[str, str]) -> Iterator[Batch]:
    """The source's rows, some hundred thousand at a time, under our names; columns of `only` keep theirs."""
    wanted = {theirs: ours for ours, theirs in names.items()}
    extra = [name for name in source.only if name not in names]
    words = [theirs for ours, theirs in names.items() if contract[ours].kind == "word"]
    for place, file in enumerate(source.files):
        have = header(source, file)
        columns = [name for name in dict.fromkeys([*names.values(), *extra]) if name in have]
        first = 0
        for rows, skipped in _raw(source, file, columns, words):
            pairs = [(ours, rows[theirs]) for ours, theirs in names.items() if theirs in rows.column_names]
            pairs += [(name, rows[name]) for name in extra if name not in wanted and name in rows.column_names]
            named = pa.table(dict(pairs)) if pairs else rows
            yield Batch(file, place, first, named, skipped)
            first += rows.num_rows


def keep_only(rows: pa.Table, only: Mapping[str, Sequence[str]]) -> pa.Array | None:
    """Which rows the filter keeps, as an Arrow mask; None: all."""
    mask = None
    for name, words in only.items():
        if name not in rows.column_names:
            continue
        column = rows[name].cast(pa.large_string()) if not pa.types.is_dictionary(rows[name].type) else rows[name]
        if pa.types.is_dictionary(column.type):
            column = column.cast(column.type.value_type).cast(pa.large_string())
        kept = pc.is_in(column, pa.array(list(words), pa.large_string()))
        mask = kept if mask is None else pc.and_(mask, kept)
    return mask


def line_of(file: str, row: int, skipped: Sequence[int]) -> int:
    """The line of a file's row: rows of Parquet and databases count from 1, those of a CSV follow the header."""
    if "://" in file or file.lower().endswith(PARQUET_ENDINGS):
        return row + 1
    line = row + 2
    for bad in sorted(skipped):
        if bad <= line:
            line += 1
    return line


# -- files -------------------------------------------------------------------------------------------------------------

Raw = Iterator[tuple[pa.Table, tuple[tuple[int, str], ...]]]


def _raw(source: Source, file: str, columns: list[str], words: list[str]) -> Raw:
    if "://" in file:
        return _database_rows(source, columns)
    return _parquet_rows(file, columns, words) if file.lower().endswith(PARQUET_ENDINGS) else _csv_rows(file, columns)


def _parquet(file: str, words: list[str] | None = None) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(file, read_dictionary=words)
    except (pa.ArrowInvalid, OSError) as error:
        raise _unreadable(file, "Parquet", error) from None


def _parquet_rows(file: str, columns: list[str], words: list[str]) -> Raw:
    texts = {
        field.name
        for field in _parquet(file).schema_arrow
        if pa.types.is_string(field.type) or pa.types.is_large_string(field.type)
    }
    opened = _parquet(file, [name for name in words if name in columns and name in texts])
    for name in columns:
        kind = opened.schema_arrow.field(name).type
        if pa.types.is_nested(kind):
            raise BadData("a column holds lists or records", where=f"{file}, column {name}", got=str(kind))
    try:
        for batch in opened.iter_batches(ROWS, columns=columns):
            yield pa.Table.from_batches([batch]), ()
    except (pa.ArrowInvalid, OSError) as error:
        raise _unreadable(file, "Parquet", error) from None


def _csv_head(file: str) -> tuple[list[str], str]:
    """The names in a CSV's first line and the delimiter between them."""
    try:
        with gzip.open(file, "rb") if file.lower().endswith(".gz") else open(file, "rb") as handle:
            line = handle.readline().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise _not_utf8(file, error) from None
    except (OSError, EOFError) as error:
        raise _unreadable(file, "CSV", error) from None
    if not line.strip():
        raise BadData("the file has no header", where=file, do="the first line names the columns")
    delimiter = max(DELIMITERS, key=line.count)
    return [name.strip() for name in next(csv.reader(io.StringIO(line), delimiter=delimiter))], delimiter


def _csv_rows(file: str, columns: list[str]) -> Raw:
    names, delimiter = _csv_head(file)
    bad: list[tuple[int, str]] = []
    blank: list[tuple[int, str]] = []

    def misfit(row: Any) -> str:
        (bad if row.text.strip() else blank).append((row.number, row.text[:200]))
        return "skip"

    read = pacsv.ReadOptions(use_threads=False, block_size=CSV_BLOCK, column_names=names, skip_rows=1)
    parse = pacsv.ParseOptions(
        delimiter=delimiter, newlines_in_values=True, ignore_empty_lines=True, invalid_row_handler=misfit
    )
    convert = pacsv.ConvertOptions(
        column_types={name: pa.string() for name in names}, strings_can_be_null=False, include_columns=columns
    )
    try:
        with pa.input_stream(file, compression="gzip" if file.lower().endswith(".gz") else None) as stream:
            for batch in pacsv.open_csv(stream, read, parse, convert):
                yield pa.Table.from_batches([batch]), tuple(bad)
                bad.clear()
    except pa.ArrowInvalid as error:
        if "Empty CSV file" in str(error):
            return
        raise (_not_utf8(file, error) if "UTF8" in str(error) else _unreadable(file, "CSV", error)) from None
    except (OSError, UnicodeDecodeError) as error:
        raise _unreadable(file, "CSV", error) from None


def _unreadable(file: str, kind: str, error: Exception) -> BadData | MissingInput:
    if isinstance(error, PermissionError):
        return MissingInput("the file may not be read", where=file, got=error.strerror, do="mend its permissions")
    return BadData(
        f"the file cannot be read as {kind}",
        where=file,
        got=str(error).splitlines()[0][:200],
        do="it may be cut short or hold something else; write it again",
    )


def _not_utf8(file: str, error: Exception) -> BadData:
    return BadData(
        "the CSV is not UTF-8",
        where=file,
        got=str(error).splitlines()[0][:200],
        do=f"convert it, such as: iconv -f GB18030 -t UTF-8 {Path(file).name} > utf8.csv",
    )


# -- databases ---------------------------------------------------------------------------------------------------------


def _reflected(source: Source) -> Any:
    """(engine, table) of the source. Raises MissingInput, ServiceAway or UsageError."""
    import sqlalchemy as sa

    url, name = source.files[0], source.database_table or ""
    schema, _, table = name.rpartition(".")
    try:
        engine = sa.create_engine(url)
        return engine, sa.Table(table, sa.MetaData(), schema=schema or None, autoload_with=engine)
    except sa.exc.NoSuchTableError:
        raise MissingInput("the database has no such table", where=shown(url), got=name) from None
    except (sa.exc.ArgumentError, sa.exc.NoSuchModuleError, ImportError, ValueError) as error:
        raise UsageError("the database URL cannot be used", where=f"[tables.{source.table}]", got=str(error)) from None
    except sa.exc.SQLAlchemyError as error:
        raise ServiceAway("the database does not answer", where=shown(url), got=_first(error)) from None


def _first(error: Exception) -> str:
    return str(getattr(error, "orig", error)).splitlines()[0][:200]


def _database_names(source: Source) -> Iterator[str]:
    engine, table = _reflected(source)
    engine.dispose()
    yield from (column.name for column in table.columns)


def _database_rows(source: Source, columns: list[str]) -> Raw:
    import sqlalchemy as sa

    engine, table = _reflected(source)
    query = sa.select(*(table.columns[name] for name in columns)).execution_options(stream_results=True)
    try:
        with engine.connect() as connection:
            for rows in connection.execute(query).partitions(ROWS // 8):
                yield pa.table({name: _array([row[i] for row in rows]) for i, name in enumerate(columns)}), ()
    except sa.exc.SQLAlchemyError as error:
        raise ServiceAway("the database stopped answering", where=shown(source.files[0]), got=_first(error)) from None
    finally:
        engine.dispose()


def _array(values: list[Any]) -> pa.Array:
    """Values a driver returned, as one column; of several types (SQLite allows them) as text."""
    try:
        return pa.array(values)
    except (pa.ArrowInvalid, pa.ArrowTypeError):
        return pa.array([None if value is None else str(value) for value in values], pa.string())
