"""The ledger: what was listed, who was held out before anybody saw it, what was done, what it cost.

A list that is acted on changes the customers it lists; only what was written down beforehand can tell what acting was
worth. The ledger is that memory: a database (SQLite beside the results, or PostgreSQL by URL) whose lists, entries,
assignments, dispositions, costs and audit lines are only ever added to. Triggers refuse to change or delete them; the
one change that is let through puts a pseudonym in the place of a customer's id, when a person asks to be erased.
Writing the same thing twice writes it once.

Two worlds of failure are kept apart: somebody else is writing (TryAgain) and the database is not there or refuses
(ServiceAway, CannotWrite).
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import json
import secrets
from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import pandas as pd
from sqlalchemy import (
    Connection,
    Engine,
    ForeignKey,
    Index,
    Text,
    UniqueConstraint,
    create_engine,
    event,
    func,
    insert,
    inspect,
    make_url,
    select,
    text,
    update,
)
from sqlalchemy.exc import ArgumentError, DBAPIError, IntegrityError, NoSuchModuleError
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from features.errors import BadConfiguration, BadData, CannotWrite, ServiceAway, TryAgain

HEAD = "0001"  # the newest migration; a test holds it against the scripts
VERSION_TABLE = "ledger_version"
WAIT_SECONDS = 20


class Base(DeclarativeBase):
    """The tables of the ledger. Days are dates, money is in the shop's currency, an absent value is NULL."""


class Publication(Base):
    """What one `score` made public: three lists of one day. `inputs` is the digest of all that went into them, `digest`
    that of all that came out; the same inputs are published once."""

    __tablename__ = "ledger_publication"
    id: Mapped[str] = mapped_column(primary_key=True)
    as_of: Mapped[date] = mapped_column(index=True)
    number: Mapped[int]
    bundle: Mapped[str]
    skill: Mapped[bool]
    horizon: Mapped[int]
    inputs: Mapped[str]
    folder: Mapped[str]
    digest: Mapped[str]
    summary: Mapped[str] = mapped_column(Text)
    __table_args__ = (UniqueConstraint("as_of", "number"),)


class List(Base):
    """One list of a publication; it closes when its horizon is over."""

    __tablename__ = "ledger_list"
    id: Mapped[str] = mapped_column(primary_key=True)
    publication: Mapped[str] = mapped_column(ForeignKey("ledger_publication.id"), index=True)
    name: Mapped[str]
    as_of: Mapped[date]
    closes: Mapped[date]
    shown: Mapped[int]
    held_out: Mapped[int]
    exempt: Mapped[int]


class Quarter(Base):
    """The rules of the draw, frozen when a quarter's first list is published: the share held out, the salt, and the
    cuts between the thirds of risk and of value."""

    __tablename__ = "ledger_quarter"
    quarter: Mapped[str] = mapped_column(primary_key=True)
    population: Mapped[str] = mapped_column(primary_key=True)
    share: Mapped[float]
    salt: Mapped[str]
    risk_low: Mapped[float]
    risk_high: Mapped[float]
    value_low: Mapped[float]
    value_high: Mapped[float]


class Assignment(Base):
    """One customer's arm for one calendar quarter, in every list, with what was forecast before the draw."""

    __tablename__ = "ledger_assignment"
    customer_id: Mapped[str] = mapped_column(primary_key=True)
    quarter: Mapped[str] = mapped_column(primary_key=True)
    arm: Mapped[str]
    population: Mapped[str]
    stratum: Mapped[str]
    share: Mapped[float]
    exempt: Mapped[bool]
    wash_out: Mapped[bool]
    list_id: Mapped[str] = mapped_column(ForeignKey("ledger_list.id"), index=True)
    entered: Mapped[date]
    action: Mapped[str | None]
    kept_forecast: Mapped[float | None]
    spend_forecast: Mapped[float | None]
    margin_forecast: Mapped[float | None]


class Entry(Base):
    """One row of a list as it was decided, held out or not."""

    __tablename__ = "ledger_entry"
    list_id: Mapped[str] = mapped_column(ForeignKey("ledger_list.id"), primary_key=True)
    customer_id: Mapped[str] = mapped_column(primary_key=True)
    rank: Mapped[int | None]
    arm: Mapped[str]
    status: Mapped[str]
    action: Mapped[str | None]
    owner: Mapped[str | None]
    channel: Mapped[str | None]
    cost: Mapped[float | None]
    expected_profit: Mapped[float | None]
    churn_probability: Mapped[float | None]
    value_at_risk: Mapped[float | None]
    __table_args__ = (Index("ledger_entry_customer", "customer_id"),)


class Disposition(Base):
    """What was done with a listed customer. `at` is kept as it was given, `day` is its day; an undo is a line too."""

    __tablename__ = "ledger_disposition"
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    list_id: Mapped[str] = mapped_column(ForeignKey("ledger_list.id"))
    customer_id: Mapped[str] = mapped_column(index=True)
    at: Mapped[str]
    day: Mapped[date]
    what: Mapped[str]
    channel: Mapped[str | None]
    cost: Mapped[float | None]
    by: Mapped[str | None]
    note: Mapped[str | None] = mapped_column(Text)
    follow_up_on: Mapped[date | None]
    held_out: Mapped[bool]
    __table_args__ = (UniqueConstraint("list_id", "customer_id", "at", "what"),)


class Cost(Base):
    """What a disposition cost; an undone one is taken back by a line with the negative amount."""

    __tablename__ = "ledger_cost"
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    list_id: Mapped[str] = mapped_column(ForeignKey("ledger_list.id"), index=True)
    customer_id: Mapped[str]
    day: Mapped[date]
    kind: Mapped[str]
    amount: Mapped[float]
    disposition: Mapped[int] = mapped_column(ForeignKey("ledger_disposition.id"))


class Audit(Base):
    """Who changed what, in the order it happened."""

    __tablename__ = "ledger_audit"
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    actor: Mapped[str]
    what: Mapped[str]
    subject: Mapped[str]
    detail: Mapped[str] = mapped_column(Text)


class Secret(Base):
    """The ledger's own salt for pseudonyms; it never leaves the database."""

    __tablename__ = "ledger_secret"
    name: Mapped[str] = mapped_column(primary_key=True)
    value: Mapped[str]


APPEND_ONLY = (List, Quarter, Assignment, Entry, Disposition, Cost, Audit)
NAMING_CUSTOMERS = (Assignment, Entry, Disposition, Cost)
PENDING = "UPDATE"  # the execution option that asks for a writing transaction


class Ledger:
    """An open ledger. Reading methods answer with plain tables; writing methods are one transaction each."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    @classmethod
    def open(cls, url: str) -> Ledger:
        """The ledger at a SQLAlchemy URL, made or brought up to date first.

        Raises ServiceAway where a server does not answer, CannotWrite where the file cannot be written, TryAgain where
        it stays locked, BadConfiguration where the URL is none.
        """
        ledger = cls(_engine(url))
        with expected(url):
            ledger._upgrade()
        return ledger

    def close(self) -> None:
        """Give the connections back."""
        self.engine.dispose()

    def __enter__(self) -> Ledger:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # ------------------------------------------------------------------ reading

    def publications(self) -> pd.DataFrame:
        """Every publication, in the order of day and number."""
        return self._table(select(Publication).order_by(Publication.as_of, Publication.number))

    def lists(self) -> pd.DataFrame:
        """Every list, in the order of day and publication."""
        return self._table(select(List).order_by(List.as_of, List.publication, List.name))

    def quarters(self, quarter: str) -> pd.DataFrame:
        """The rules of a quarter's draws, a row per population; empty before its first list."""
        return self._table(select(Quarter).where(Quarter.quarter == quarter).order_by(Quarter.population))

    def assignments(self, quarter: str | None = None) -> pd.DataFrame:
        """Arms, of one quarter or of all, by quarter and customer."""
        query = select(Assignment).order_by(Assignment.quarter, Assignment.customer_id)
        return self._table(query if quarter is None else query.where(Assignment.quarter == quarter))

    def entries(self, list_id: str) -> pd.DataFrame:
        """The rows of one list, held-out ones too, in the order they were decided."""
        return self._table(select(Entry).where(Entry.list_id == list_id).order_by(Entry.rank, Entry.customer_id))

    def in_force(self, before: date) -> pd.DataFrame:
        """The lists of days before one, for each day and name only those of its last publication."""
        lists = self._table(
            select(List, Publication.number)
            .join(Publication, List.publication == Publication.id)
            .where(List.as_of < before)
            .order_by(List.as_of, Publication.number, List.name)
        )
        return lists.drop_duplicates(["as_of", "name"], keep="last", ignore_index=True)

    def listed_before(self, name: str, before: date) -> pd.DataFrame:
        """Who has been on a list of this name on an earlier day: list_id, as_of, customer_id."""
        lists = self.in_force(before)
        wanted = lists.loc[lists["name"] == name, ["id", "as_of"]].rename(columns={"id": "list_id"})
        rows = self._table(
            select(Entry.list_id, Entry.customer_id)
            .join(List, Entry.list_id == List.id)
            .where(List.name == name, List.as_of < before)
            .order_by(Entry.list_id, Entry.customer_id)
        )
        return wanted.merge(rows, on="list_id", how="inner")

    def treated_since(self, since: date, before: date) -> set[str]:
        """Who was treated on any list of the days [since, before): their next quarter is analysed apart."""
        query = (
            select(Entry.customer_id)
            .join(List, Entry.list_id == List.id)
            .where(Entry.arm == "treated", List.as_of >= since, List.as_of < before)
            .distinct()
        )
        return set(self._table(query)["customer_id"])

    def dispositions(self, until: date | None = None) -> pd.DataFrame:
        """Every line up to a day, undone ones and undos too, in the order they came in."""
        query = select(Disposition).order_by(Disposition.id)
        return self._table(query if until is None else query.where(Disposition.day <= until))

    def standing(self, until: date | None = None) -> pd.DataFrame:
        """The dispositions that stand up to a day: without undos and what they took back."""
        return standing(self.dispositions(until))

    def costs(self) -> pd.DataFrame:
        """Every cost line, in the order they came in."""
        return self._table(select(Cost).order_by(Cost.id))

    def audit_trail(self) -> pd.DataFrame:
        """Every audit line, in the order they came in."""
        return self._table(select(Audit).order_by(Audit.id))

    def state(self, as_of: date) -> str:
        """A digest of everything in the ledger that a list of this day may depend on: earlier lists, dispositions up to
        the day, and the arms of its quarter that were drawn by then."""
        seen = hashlib.sha256()
        for table in (self.in_force(as_of)[["id", "shown", "held_out"]], self.standing(as_of)):
            seen.update(table.drop(columns="id", errors="ignore").to_csv(index=False).encode())
        drawn = self.assignments()
        before = drawn[pd.to_datetime(drawn["entered"]) < pd.Timestamp(as_of)]
        seen.update(before[["customer_id", "quarter", "arm"]].to_csv(index=False).encode())
        return seen.hexdigest()

    # ------------------------------------------------------------------ writing

    def publish(
        self,
        publication: Mapping[str, Any],
        lists: Sequence[Mapping[str, Any]],
        entries: pd.DataFrame,
        assignments: pd.DataFrame,
        quarters: Sequence[Mapping[str, Any]] = (),
    ) -> None:
        """Write one publication with its lists, rows and new arms, all or nothing.

        Raises TryAgain where somebody else published the same day and number, or drew the same customers, meanwhile.
        """
        with self.writing() as now:
            now.execute(insert(Publication), [dict(publication)])
            now.execute(insert(List), [dict(one) for one in lists])
            if quarters:
                now.execute(insert(Quarter), [dict(one) for one in quarters])
            _put(now, Assignment, assignments)
            _put(now, Entry, entries)
            self._note(now, "score", "published", str(publication["id"]), {"lists": len(lists), "rows": len(entries)})

    def dispose(self, rows: Sequence[Mapping[str, Any]], actor: str = "dispose") -> int:
        """Add dispositions and what they cost; a line that is already there is passed over. Answers how many were
        new."""
        with self.writing() as now:
            there = {
                tuple(line)
                for ids in _chunks(sorted({str(row["list_id"]) for row in rows}))
                for line in now.execute(
                    select(Disposition.list_id, Disposition.customer_id, Disposition.at, Disposition.what).where(
                        Disposition.list_id.in_(ids)
                    )
                )
            }
            new = [
                row for row in rows if _first_time((row["list_id"], row["customer_id"], row["at"], row["what"]), there)
            ]
            for row in new:
                self._add(now, row)
            if new:
                self._note(now, actor, "disposed", f"{len(new)} rows", {"already there": len(rows) - len(new)})
            return len(new)

    def _add(self, now: Connection, row: Mapping[str, Any]) -> None:
        """One disposition with its cost; an undo takes back what the disposition it undoes had cost."""
        undone = _undone_by(now, row) if row["what"] == "undo" else None
        number = now.execute(insert(Disposition).values(**row).returning(Disposition.id)).scalar_one()
        amount = row.get("cost") or 0.0
        if undone is not None:
            amount = -float(
                now.execute(select(func.sum(Cost.amount)).where(Cost.disposition == undone)).scalar() or 0.0
            )
        if amount:
            line = {key: row[key] for key in ("list_id", "customer_id", "day")}
            now.execute(insert(Cost).values(**line, kind="retention", amount=amount, disposition=number))

    def note(self, actor: str, what: str, subject: str, detail: Mapping[str, Any] | None = None) -> None:
        """Add an audit line."""
        with self.writing() as now:
            self._note(now, actor, what, subject, detail or {})

    def move(self, publication: str, folder: str, digest: str) -> None:
        """Say that a publication now lies in another folder (after a person was taken out of its files)."""
        with self.writing() as now:
            moved = {"folder": folder, "digest": digest}
            now.execute(update(Publication).where(Publication.id == publication).values(**moved))

    def pseudonym(self, customer_id: str) -> str:
        """What stands in a customer's place after erasure: a keyed hash, the same each time, that cannot be turned back
        without the ledger's own salt."""
        with self._reading() as now:
            salt = now.execute(select(Secret.value).where(Secret.name == "pseudonym")).scalar_one()
        return "erased-" + hmac.new(bytes.fromhex(salt), customer_id.encode(), hashlib.sha256).hexdigest()[:32]

    def erase(self, customer_id: str) -> dict[str, int]:
        """Put a pseudonym in the place of a customer's id everywhere and blank his notes; how many rows, by table. Arms
        and rows stay, so that no effect changes because somebody left. Doing it again finds nothing more."""
        stands_for = self.pseudonym(customer_id)
        changed: dict[str, int] = {}
        with self.writing() as now:
            stands_for += _times_gone(now, stands_for)
            for model in NAMING_CUSTOMERS:
                values: dict[str, Any] = {"customer_id": stands_for}
                if model is Disposition:
                    values |= {"note": None}
                done = now.execute(update(model).where(model.customer_id == customer_id).values(**values))
                changed[model.__tablename__] = int(done.rowcount)
            if any(changed.values()):
                self._note(now, "erase", "erased", stands_for, changed)
        return changed

    # ------------------------------------------------------------------ the database

    @contextlib.contextmanager
    def writing(self) -> Iterator[Connection]:
        """A transaction that writes; it takes its turn at once, so that two writers cannot deadlock half-way."""
        with (
            expected(str(self.engine.url)),
            self.engine.connect().execution_options(intent=PENDING) as now,
            now.begin(),
        ):
            yield now

    @contextlib.contextmanager
    def _reading(self) -> Iterator[Connection]:
        with expected(str(self.engine.url)), self.engine.connect() as now:
            yield now

    def _table(self, query: Any) -> pd.DataFrame:
        columns = [column.name for column in query.selected_columns]
        with self._reading() as now:
            return pd.DataFrame.from_records(now.execute(_plain(query)).all(), columns=columns)

    def _note(self, now: Connection, actor: str, what: str, subject: str, detail: Mapping[str, Any]) -> None:
        line = {"actor": actor, "what": what, "subject": subject, "detail": json.dumps(dict(detail), sort_keys=True)}
        now.execute(insert(Audit).values(**line))

    def _upgrade(self) -> None:
        """Bring the tables to the newest form, one process at a time; a ledger that is there already costs one
        query."""
        with self.engine.connect() as now:
            if _version(now) == HEAD:
                return
        with self.engine.connect().execution_options(intent=PENDING) as now, now.begin():
            if now.dialect.name == "postgresql":
                now.execute(text("SELECT pg_advisory_xact_lock(74736)"))
            if _version(now) != HEAD:
                migrate(now)
            if now.execute(select(Secret.value).where(Secret.name == "pseudonym")).first() is None:
                now.execute(insert(Secret).values(name="pseudonym", value=secrets.token_hex(32)))


def migrate(connection: Connection, to: str = "head") -> None:
    """Run the migrations inside the transaction of a connection."""
    from alembic import command
    from alembic.config import Config

    settings = Config()
    settings.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
    settings.attributes["connection"] = connection
    command.upgrade(settings, to)


def standing(lines: pd.DataFrame) -> pd.DataFrame:
    """Dispositions without undos and what they took back: an undo takes back the last line still standing of the same
    customer on the same list."""
    gone: set[int] = set()
    stacks: dict[tuple[str, str], list[int]] = {}
    for place, (list_id, customer, what) in enumerate(
        zip(lines["list_id"], lines["customer_id"], lines["what"], strict=True)
    ):
        stack = stacks.setdefault((list_id, customer), [])
        if what != "undo":
            stack.append(place)
            continue
        gone.add(place)
        if stack:
            gone.add(stack.pop())
    kept = [place for place in range(len(lines)) if place not in gone]
    return lines.iloc[kept].reset_index(drop=True)


def _undone_by(now: Connection, row: Mapping[str, Any]) -> int | None:
    """The disposition that an undo takes back."""
    same = (Disposition.list_id == row["list_id"], Disposition.customer_id == row["customer_id"])
    query = select(Disposition.id, Disposition.list_id, Disposition.customer_id, Disposition.what).where(*same)
    found = now.execute(query.order_by(Disposition.id)).all()
    left = standing(pd.DataFrame.from_records(found, columns=["id", "list_id", "customer_id", "what"]))
    return int(left["id"].iloc[-1]) if len(left) else None


def _times_gone(now: Connection, pseudonym: str) -> str:
    """What tells a pseudonym from an earlier one of the same person, who came back and leaves again."""
    query = select(func.count(Entry.customer_id.distinct())).where(Entry.customer_id.like(f"{pseudonym}%"))
    times = int(now.execute(query).scalar_one())
    return f"-{times + 1}" if times else ""


def _first_time(key: tuple[Any, ...], seen: set[tuple[Any, ...]]) -> bool:
    """Whether a key is new; it is not any more afterwards."""
    if key in seen:
        return False
    seen.add(key)
    return True


def _put(now: Connection, model: type[Base], rows: pd.DataFrame) -> None:
    """Insert a table as the driver's own bulk insert: an object or a dictionary a row would cost three times as
    much."""
    if not len(rows):
        return
    mark = "?" if now.dialect.name == "sqlite" else "%s"
    names = ", ".join(f'"{name}"' for name in rows.columns)
    into = f"INSERT INTO {model.__tablename__} ({names}) VALUES ({', '.join([mark] * len(rows.columns))})"
    columns = [_values(rows[name], dates_as_text=now.dialect.name == "sqlite") for name in rows.columns]
    now.exec_driver_sql(into, list(zip(*columns, strict=True)))


def _plain(query: Any) -> Any:
    """The query over columns instead of mapped objects: rows become a table without an object each."""
    return query.with_only_columns(*query.selected_columns, maintain_column_froms=True)


def _values(column: pd.Series, *, dates_as_text: bool) -> list[Any]:
    """A column for the database: NaN as NULL, NumPy's numbers as Python's, and days as SQLite keeps them."""
    missing = column.isna().to_numpy()
    values = column.astype(object).to_list()
    if dates_as_text and any(isinstance(value, date) for value in values[:1]):
        values = [str(value) for value in values]
    return [None if gone else value for gone, value in zip(missing, values, strict=True)] if missing.any() else values


def _chunks(ids: list[str], size: int = 500) -> Iterator[list[str]]:
    """Few enough for one IN (...)."""
    for start in range(0, len(ids), size):
        yield ids[start : start + size]


def _version(now: Connection) -> str | None:
    if not inspect(now).has_table(VERSION_TABLE):
        return None
    return now.execute(text(f"SELECT version_num FROM {VERSION_TABLE}")).scalar()


def _engine(url: str) -> Engine:
    """An engine whose transactions mean what they say, on SQLite too."""
    try:
        where = make_url(url)
        if where.drivername in ("postgresql", "postgres"):
            where = where.set(drivername="postgresql+psycopg")
        engine = create_engine(where)
    except (ArgumentError, NoSuchModuleError, ModuleNotFoundError, ValueError) as error:
        raise BadConfiguration(
            "the ledger's database cannot be used",
            where="[state] database",
            allowed="sqlite:///FILE, or postgresql://USER@HOST/NAME with the extra `postgres` installed",
            got=f"{hide(url)} ({error})",
        ) from None
    if engine.dialect.name == "sqlite":
        _tame_sqlite(engine)
        if where.database:
            _make_folder(Path(where.database).parent)
    return engine


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CannotWrite("the ledger's folder cannot be made", where=str(folder), got=str(error)) from None


def _tame_sqlite(engine: Engine) -> None:
    """WAL, so that readers never wait; full sync, so that what was published survives a power cut; and real
    transactions, which the driver would otherwise begin late and end early."""

    @event.listens_for(engine, "connect")
    def _connected(connection: Any, _: object) -> None:
        connection.isolation_level = None
        for pragma in (
            f"busy_timeout={WAIT_SECONDS * 1000}",
            "journal_mode=WAL",
            "synchronous=FULL",
            "foreign_keys=ON",
        ):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def _begun(connection: Connection) -> None:
        writes = connection.get_execution_options().get("intent") == PENDING
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def hide(url: str) -> str:
    """A database URL without its password."""
    try:
        return make_url(url).render_as_string(hide_password=True)
    except (ArgumentError, ValueError):
        return "something that is no URL"


@contextlib.contextmanager
def expected(url: str) -> Iterator[None]:
    """Turn what a database may refuse into the error tree."""
    try:
        yield
    except DBAPIError as error:
        raise _named(error, url) from None


def _named(error: DBAPIError, url: str) -> Exception:
    """Which of the expected failures a database error is."""
    said = str(error.orig).strip().splitlines()[0] if str(error.orig).strip() else type(error.orig).__name__
    low, place = said.lower(), {"where": hide(url), "got": said}
    if "locked" in low or "lock timeout" in low or "deadlock" in low or "could not serialize" in low:
        return TryAgain("the ledger is being written by somebody else", **place, do="run the command again in a moment")
    if "not a database" in low or "malformed" in low:
        return BadData("the ledger is damaged", **place, do="put back the last copy of the file")
    if "append-only" in low:
        return BadData("the ledger only takes additions", **place)
    if isinstance(error, IntegrityError):
        return TryAgain(
            "somebody else wrote the same rows of the ledger meanwhile", **place, do="run the command again"
        )
    if make_url(url).get_backend_name() == "sqlite":
        return CannotWrite("the ledger cannot be written", **place, do="look at the folder's rights and free space")
    return ServiceAway("the ledger's database does not answer", **place, do="start it, or mend [state] database")
