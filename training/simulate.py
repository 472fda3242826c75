"""A shop whose truth is known: what `holdfast simulate` writes, and worlds to play on.

Nobody can check a claim about churn, causes or effects on a log alone: what would have happened under another action
never did. A simulated shop can be asked. Its log looks like a real one (`realism` puts it beside CDNOW); behind it
stand customers with latent rates, tastes and tempers, and for each of them what the shop's actions would do, including
those whom contact drives away. The truth lies in `truth/`, which no pipeline opens. How it works: `training/shop/`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from features.errors import CannotWrite, UsageError
from features.windows import to_day
from training.shop import log
from training.shop.chain import ACTIONS, STATES
from training.shop.customers import CHANNELS
from training.shop.dice import Floats, Ints
from training.shop.parameters import SCENARIOS, Parameters, of
from training.shop.world import CAUSES, STAGES, World

__all__ = [
    "ACTIONS",
    "CAUSES",
    "SCENARIOS",
    "STAGES",
    "Parameters",
    "Realism",
    "ShopReport",
    "World",
    "advance",
    "of",
    "realism",
    "shop",
    "tell",
]

CHUNK = 32_768
"""Customers that are in memory at once."""

HORIZON = 13
"""Weeks that the expected potential outcomes look ahead."""

_WINDOWS = {"horizon": 91, "active": 182}
_FACTS = (
    "rate", "leave", "price_sensitive", "service_sensitive", "open_rate", "discount_response", "reminder_response",
    "service_response", "dog", "loyal", "content", "advocate", "one_timer", "online",
)  # fmt: skip


@dataclass(frozen=True)
class ShopReport:
    """What was written: the folder, customers, rows by table, first and last day of the log."""

    out: Path
    customers: int
    rows: dict[str, int]
    first_day: int
    last_day: int


def shop(
    customers: int,
    seed: int,
    out: Path,
    *,
    weeks: int = 104,
    start: str = "2024-01-01",
    scenario: str = "shop",
    parameters: Parameters | None = None,
    truth_every: int = 26,
    progress: Callable[[str], None] | None = None,
    chunk: int = CHUNK,
) -> ShopReport:
    """Simulate a shop and write its tables, a `holdfast.toml` ready to use, and the truth under `truth/`.

    `weeks` weeks from the Monday `start` on; customers of the opening stock come earlier. `scenario` is a key of
    SCENARIOS, laid over `parameters`. The truth about potential outcomes is written for the last day and every
    `truth_every` weeks before. The same arguments give the same bytes; `chunk` bounds memory and changes only the order
    of rows.

    Raises UsageError for numbers that make no shop and CannotWrite where the folder refuses.
    """
    _check(customers, seed, weeks, start, truth_every)
    p = of(scenario, parameters)
    try:
        (out / "truth").mkdir(parents=True, exist_ok=True)
        worlds = (
            World(customers, seed, p, weeks=weeks, start=start, first=first, last=first + chunk)
            for first in range(0, customers, chunk)
        )
        rows = _write(out, worlds, range(weeks, 0, -truth_every)[::-1], progress)
        (out / "holdfast.toml").write_text(_settings(scenario, p), encoding="utf-8")
    except OSError as error:
        raise CannotWrite("the simulated shop could not be written", where=str(out), got=str(error)) from None
    first = to_day(start)
    return ShopReport(out, customers, rows, first, first + 7 * weeks - 1)


def _check(customers: int, seed: int, weeks: int, start: str, truth_every: int) -> None:
    for name, value, low, high in (
        ("customers", customers, 1, 99_999_999),
        ("seed", seed, 0, 2**64 - 1),
        ("weeks", weeks, 4, 520),
        ("truth_every", truth_every, 1, 520),
    ):
        if not low <= value <= high:
            raise UsageError(f"no shop has this number of {name}", allowed=f"{low} to {high}", got=str(value))
    try:
        to_day(start)
    except ValueError:
        raise UsageError("the shop cannot open on this day", allowed="YYYY-MM-DD", got=repr(start)) from None


def _write(
    out: Path,
    worlds: Iterator[World],
    cutoffs: Sequence[int],
    progress: Callable[[str], None] | None,
) -> dict[str, int]:
    files = _Files(out)
    advice: list[dict[str, Ints]] = []
    referred: list[tuple[Ints, Ints]] = []
    for world in worlds:
        files.add("customers", log.cards(world))
        files.add("truth/traits", _traits(world))
        for week in cutoffs:
            world.play(week)
            files.add("truth/outcomes", _outcomes(world))
        files.add("truth/spells", _spells(world))
        advice.append(log.advice(world))
        by_friend = (world.who.channel == CHANNELS.index("referral")) & (world.who.joined >= 0)
        referred.append((world.who.number[by_friend], world.who.joined[by_friend]))
        world.settle()
        for name, table in log.tables(world, world.today).items():
            files.add(name, table)
        if progress:
            progress(f"simulated {world.who.number[-1] + 1:,} of {world.total:,} customers")
    told = {name: np.concatenate([one[name] for one in advice]) for name in ("number", "week", "day")}
    number, joined = (np.concatenate([one[side] for one in referred]) for side in (0, 1))
    files.add("referrals", _logged(log.followed(told, number, joined), world))
    files.add("costs", log.shared_costs(world, world.today))
    return files.close()


def _logged(table: pa.Table, world: World) -> pa.Table:
    return table.filter(pa.array(table["at"].cast(pa.int32()).to_numpy() >= world.start))


def advance(
    world: World, weeks: int = 1, actions: Mapping[str, str] | None = None, *, own_contacts: bool = False
) -> dict[str, pa.Table]:
    """Play `weeks` weeks on and hand out the rows that the shop comes to know in them, by table (as `holdfast ingest
    --append` takes them). `actions` (customer id -> one of ACTIONS) is done at the start of the first of these weeks;
    with `own_contacts` the shop goes on with its own mailings and service calls.

    A world that stands where a log of `shop` ends is `World(...)` with the same arguments, `play(weeks)`, then `tell`.
    """
    for ahead in range(weeks):
        world.step(actions if ahead == 0 else None, own_contacts=own_contacts)
    return tell(world)


def tell(world: World) -> dict[str, pa.Table]:
    """The rows of the log that were not handed out yet, up to the last day that was played."""
    return log.tables(world, world.today)


class _Files:
    """One Parquet file a table, open while the chunks go by; a row group a chunk."""

    def __init__(self, out: Path) -> None:
        self._out = out
        self._writers: dict[str, pq.ParquetWriter] = {}
        self._rows: dict[str, int] = {}

    def add(self, name: str, table: pa.Table) -> None:
        if name not in self._writers:
            path = self._out / f"{name}.parquet"
            self._writers[name] = pq.ParquetWriter(path, table.schema, compression="zstd", compression_level=1)
            self._rows[name] = 0
        if table.num_rows:
            self._writers[name].write_table(table, row_group_size=table.num_rows)
        self._rows[name] += table.num_rows

    def close(self) -> dict[str, int]:
        """Rows by file."""
        for writer in self._writers.values():
            writer.close()
        return dict(sorted(self._rows.items()))


# The truth


def _traits(world: World) -> pa.Table:
    """What nobody observes: the latent traits of each customer."""
    columns = {"customer_id": world.arrow_ids}
    columns |= {name: pa.array(getattr(world.who, name)) for name in _FACTS}
    columns["favourite"] = pa.array(world.who.favourite + 1)
    columns["change_on"] = _change_day(world)
    columns["change"] = pa.array(world.who.change)
    return pa.table(columns)


def _change_day(world: World) -> pa.Array:
    week = world.who.change_week
    known = week < world.weeks + 520
    day = world.start + 7 * np.where(known, week, 0).astype(np.int32)
    return pa.array(day.astype(np.int32), mask=~known).cast(pa.date32())


def _outcomes(world: World) -> pa.Table:
    """What each customer who has come would do in the next 91 days under each action, exactly; money in the
    currency."""
    here = np.flatnonzero(world.state >= 0)
    told = world.expected(HORIZON)
    columns: dict[str, pa.Array] = {
        "customer_id": world.arrow_ids.take(pa.array(here)),
        "cutoff": pa.array(np.full(len(here), world.today, dtype=np.int32)).cast(pa.date32()),
        "state": pa.array(list(STATES)).take(pa.array(world.state[here])),
        "kind": pa.array(list(KINDS)).take(pa.array(kinds(told)[here])),
    }
    for name, values in told.items():
        money = not name.startswith("retention")
        columns[name] = pa.array((values[here] / (100 if money else 1)).astype(np.float32))
    return pa.table(columns)


KINDS = ("sure thing", "persuadable", "lost cause", "sleeping dog", "indifferent")


def kinds(told: dict[str, Floats]) -> Ints:
    """The field's kinds, by expected retention: a place in KINDS. A *sleeping dog* stays less often (by half a point)
    after the mildest contact; a *persuadable* is kept by the best action at least two points more often; of the others
    a *sure thing* stays in four cases of five and a *lost cause* in one of twenty, untouched."""
    untouched = told["retention_nothing"]
    moved = np.stack([told[f"retention_{one}"] - untouched for one in ACTIONS[1:]])
    kind = np.full(len(untouched), KINDS.index("indifferent"))
    kind[untouched >= 0.8] = KINDS.index("sure thing")
    kind[untouched <= 0.05] = KINDS.index("lost cause")
    kind[moved.max(axis=0) >= 0.02] = KINDS.index("persuadable")
    kind[moved[ACTIONS.index("reminder") - 1] <= -0.005] = KINDS.index("sleeping dog")
    return kind


def _spells(world: World) -> pa.Table:
    """State, stage and cause of leaving from a day on, until the customer's next row."""
    rows = world.happened.all("spells")
    rows = {name: values[rows["code"] >= 0] for name, values in rows.items()}
    order = np.lexsort((rows["week"], rows["pos"]))
    pos, week, code = (rows[name][order] for name in ("pos", "week", "code"))
    cause = code % 8 - 1
    return pa.table(
        {
            "customer_id": world.arrow_ids.take(pa.array(pos)),
            "since": pa.array((world.start + 7 * week).astype(np.int32)).cast(pa.date32()),
            "state": pa.array(list(STATES)).take(pa.array(code // 64)),
            "stage": pa.array(list(STAGES)).take(pa.array(code // 8 % 8)),
            "cause": pa.array(list(CAUSES)).take(pa.array(cause, mask=cause < 0)),
        }
    )


# The settings


def _settings(scenario: str, p: Parameters) -> str:
    tables = "\n".join(f'[tables.{name}]\npath = "{name}.parquet"\n' for name in log.SCHEMAS)
    return f"""# A simulated shop ({scenario}); its truth lies in truth/, which no command opens.
[shop]
name = "Simulated shop"
currency = "USD"
timezone = "UTC"
language = "en"

{tables}
[windows]
horizon = {_WINDOWS["horizon"]}
active = {_WINDOWS["active"]}

[economics]
margin = {1 - p.cost_share:.2f}
contact_cost = {p.cost_reminder / 100:.2f}
"""


# Does it look real?


@dataclass(frozen=True)
class Realism:
    """Figures by which logs are told apart, of the customers who first bought in the first twelve weeks: share who
    bought on one day only; share of takings that the best fifth of them brought; quartiles of the days between
    purchase days; AUC of recency against silence in the 91 days after the cutoff, among those who bought on at least
    two days and at least once in the 182 days before."""

    customers: int
    one_time_share: float
    top_fifth_share: float
    gap_quartiles: tuple[float, float, float]
    recency_auc: float

    def line(self, name: str) -> str:
        """One line of a table that puts logs side by side."""
        gaps = " / ".join(f"{gap:.0f}" for gap in self.gap_quartiles)
        return (
            f"{name:<16}{self.customers:>9,}{self.one_time_share:>10.3f}{self.top_fifth_share:>10.2f}"
            f"{gaps:>16}{self.recency_auc:>9.3f}"
        )


def realism(purchases: pd.DataFrame, *, cutoff: int | None = None) -> Realism:
    """The figures of a log with the columns customer_id, at, amount. `cutoff` is a day number; by default 91 days
    before the last day of the log."""
    day = (pd.to_datetime(purchases["at"]).astype("datetime64[s]").astype("int64") // 86_400).to_numpy()
    frame = pd.DataFrame({"who": purchases["customer_id"].to_numpy(), "day": day, "amount": purchases["amount"]})
    days = frame.groupby(["who", "day"], as_index=False)["amount"].sum()
    first = days.groupby("who")["day"].transform("min")
    days = days[first < days["day"].min() + 84]
    by_customer = days.groupby("who").agg(count=("day", "size"), money=("amount", "sum"))
    money = np.sort(by_customer["money"].to_numpy())[::-1]
    gaps = days.sort_values(["who", "day"]).groupby("who")["day"].diff().dropna()
    return Realism(
        customers=len(by_customer),
        one_time_share=float((by_customer["count"] == 1).mean()),
        top_fifth_share=float(money[: len(money) // 5].sum() / money.sum()),
        gap_quartiles=tuple(float(q) for q in np.quantile(gaps, [0.25, 0.5, 0.75])),  # type: ignore[arg-type]
        recency_auc=_recency_auc(days, int(days["day"].max()) - 91 if cutoff is None else cutoff),
    )


def _recency_auc(days: pd.DataFrame, cutoff: int) -> float:
    seen = days[days["day"] <= cutoff].groupby("who")["day"].agg(["max", "size"])
    repeat = seen[(seen["size"] > 1) & (seen["max"] > cutoff - 182)]
    later = set(days.loc[(days["day"] > cutoff) & (days["day"] <= cutoff + 91), "who"])
    silent = ~repeat.index.isin(later)
    recency = (cutoff - repeat["max"]).rank().to_numpy()
    lost, kept = silent.sum(), (~silent).sum()
    if not lost or not kept:
        return float("nan")
    return float((recency[silent].sum() - lost * (lost + 1) / 2) / (lost * kept))
