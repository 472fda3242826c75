"""A first look at a shop's tables: what their columns are, what is wrong with them, and which windows they argue for.

`propose` reads one purchase table and writes the settings that one would write by hand after an afternoon with it, each
with its evidence. `check` reads every table of the settings and says what an ingest would do with their rows, how the
windows divide the customers, and what each table that is not there costs.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from features.block import Ints
from features.config import TABLES, Config, WindowSettings
from features.define import Silence
from features.errors import BadData, CannotWrite, UsageError
from features.hashing import hash_ids, mix
from features.ingest import planned
from features.intake import FATES, Counts, Plan, Quarantine, checked_rows, joined_by_order, no_orders
from features.reader import Source, day_order, header, peek, rows_guessed, source_of
from features.tables import CONTRACTS, Unit, flat, ints_of, read_column
from features.windows import to_date

Progress = Callable[[str], None] | None

PEEK = 20_000  # rows from which columns are guessed
SAMPLED = 5_000_000  # rows up to which every customer is looked at; of larger logs a random share of the customers
SPANS = (28, 56, 91, 182, 365)  # windows that people can talk about: four weeks, eight, a quarter, half a year, a year
COMES_BACK = 0.75  # H: by then this share of the purchases that follow another have come
SEEN = 0.90  # A: by then this share has
ONE_TIMERS = 0.90  # a log with more of them says little about repeat buying

# Names that shops give our columns, most telling first; compared without case, blanks and punctuation.
NAMES: Mapping[str, tuple[str, ...]] = {
    "customer_id": (
        "customerid", "customer", "custid", "cust", "customerno", "customernumber", "clientid", "client",
        "memberid", "member", "buyerid", "buyer", "userid", "user", "uid", "householdid", "household",
        "householdkey", "accountid", "account", "shopperid", "visitorid", "cardid", "customerkey", "客户id",
        "客户编号", "客户", "会员id", "会员编号", "会员号", "会员", "用户id", "用户", "顾客id", "顾客编号",
        "顾客", "买家id", "买家", "买家会员名",
    ),
    "at": (
        "at", "orderedat", "orderdate", "ordertime", "orderdatetime", "purchasedate", "purchasetime",
        "purchasedat", "transactiondate", "transactiontimestamp", "transactiontime", "orderpurchasetimestamp",
        "invoicedate", "datetime", "timestamp", "date", "time", "createdat", "created", "saledate", "salesdate",
        "day", "tdat", "paidat", "eventtime", "下单时间", "下单日期", "订单时间", "订单日期", "交易时间",
        "交易日期", "购买时间", "购买日期", "支付时间", "付款时间", "订单付款时间", "销售日期", "日期", "时间",
        "创建时间",
    ),
    "amount": (
        "amount", "totalamount", "orderamount", "saleamount", "salesamount", "amountpaid", "paid",
        "paymentvalue", "total", "ordertotal", "totalprice", "linetotal", "linevalue", "salesvalue", "sales",
        "sale", "revenue", "netsales", "grosssales", "spend", "value", "ordervalue", "netamount", "grossamount",
        "turnover", "subtotal", "price", "金额", "订单金额", "实付金额", "支付金额", "付款金额", "实付",
        "销售额", "消费金额", "成交金额", "交易金额", "总价", "总金额",
    ),
    "unit_price": (
        "unitprice", "priceperunit", "itemprice", "pricepermitem", "单价",
    ),
    "quantity": (
        "quantity", "qty", "units", "itemcount", "items", "count", "pieces", "数量", "件数", "购买数量",
    ),
    "product_id": (
        "productid", "product", "sku", "skuid", "itemid", "item", "stockcode", "articleid", "article",
        "productcode", "upc", "ean", "asin", "商品id", "商品编号", "商品编码", "商品", "货号", "产品编号",
        "产品",
    ),
    "category": (
        "category", "categoryid", "productcategory", "categoryname", "department", "productgroup", "family",
        "commodity", "品类", "类目", "分类", "商品类别", "类别",
    ),
    "order_id": (
        "orderid", "order", "orderno", "ordernumber", "invoiceno", "invoiceid", "invoice", "basketid", "basket",
        "transactionid", "transaction", "receiptid", "receipt", "订单id", "订单号", "订单编号", "交易号",
    ),
    "channel": (
        "channel", "saleschannel", "orderchannel", "platform", "渠道", "销售渠道", "平台",
    ),
    "store": (
        "store", "storeid", "shop", "shopid", "branch", "outlet", "location", "门店", "店铺", "商店",
        "门店编号",
    ),
    "discount": (
        "discount", "discountamount", "retaildisc", "coupondisc", "rebate", "折扣金额", "优惠金额", "优惠",
        "折扣",
    ),
    "cost": (
        "cost", "cogs", "unitcost", "costofgoods", "成本",
    ),
    "status": (
        "status", "orderstatus", "state", "paymentstatus", "订单状态", "状态", "交易状态",
    ),
    "promised_at": (
        "promisedat", "estimateddeliveryat", "estimateddelivery", "orderestimateddeliverydate",
        "estimateddeliverydate", "expecteddelivery", "duedate", "预计送达时间", "预计到达时间", "承诺送达时间",
    ),
    "delivered_at": (
        "deliveredat", "deliverydate", "deliveredon", "orderdeliveredcustomerdate", "received", "签收时间",
        "送达时间", "收货时间", "确认收货时间",
    ),
}  # fmt: skip
DONE = frozenset(
    (
        "closed", "complete", "completed", "delivered", "finished", "fulfilled", "paid", "shipped", "succeeded",
        "success", "交易成功", "已付款", "已发货", "已完成", "已支付", "已签收",
    )
)  # fmt: skip
UNDONE = frozenset(
    (
        "approved", "canceled", "cancelled", "created", "declined", "failed", "invoiced", "pending",
        "processing", "refunded", "returned", "unavailable", "unpaid", "void", "voided", "交易关闭", "已关闭",
        "已取消", "已退款", "待付款", "退款成功",
    )
)  # fmt: skip
CURRENCIES: Mapping[str, str] = {
    "usd": "USD", "dollar": "USD", "eur": "EUR", "euro": "EUR", "gbp": "GBP", "cny": "CNY", "rmb": "CNY", "yuan": "CNY",
    "元": "CNY", "jpy": "JPY", "yen": "JPY", "brl": "BRL", "inr": "INR", "krw": "KRW", "kwd": "KWD", "chf": "CHF",
}  # fmt: skip

COSTS: Mapping[str, str] = {
    "returns": "money stays gross where returns are not negative lines; nothing is known of why things come back",
    "complaints": "an open complaint neither warns nor explains; service causes stay unseen",
    "surveys": "satisfaction and its trend are unknown; no stated reasons for leaving",
    "events": "silence on site cannot be told from silence in the till; carts left are unseen",
    "campaigns": "no response, no fatigue, and no evidence of what acting was worth before the first hold-out",
    "costs": "cost to serve and to acquire come from the settings, the same for everybody",
    "referrals": "customers who bring customers count for their own purchases only",
    "customers": "no consent, tier, region or date of joining; tenure starts with the first purchase",
    "attitudes": "psychographic segments are not made",
}
COLUMN_COSTS: Mapping[str, str] = {
    "amount": "each line counts 1 unit: no money, no margin, no value at risk",
    "order_id": "all lines of a day are one order",
    "product_id": "no variety, no repeat products, no neighbours by product",
    "category": "no mix of categories, no new or dropped ones",
    "channel": "no channel of purchase",
    "discount": "dependence on discounts is unknown",
    "cost": "margin is the settings' share of revenue",
    "delivered_at": "late deliveries are unseen",
}


# -- init --------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Proposal:
    """Settings for a purchase table: the text of holdfast.toml and, line by line, why."""

    toml: str
    evidence: tuple[str, ...]
    columns: Mapping[str, str]
    horizon: int
    active: int


def propose(path: str, beside: str | Path = "holdfast.toml") -> Proposal:
    """Look at a purchase table and propose its settings; `path` is written relative to the settings' folder.

    Raises MissingInput or UsageError for what is no table, BadData where no customer or no time can be found in it.
    """
    source = source_of("purchases", path, {}, {}, None)
    sample = peek(source, PEEK)
    columns = guess_columns(sample)
    lacking = [name for name in ("customer_id", "at") if name not in columns]
    if lacking:
        raise BadData(
            f"no column of the table looks like {' or '.join(lacking)}",
            where=source.files[0],
            got=", ".join(header(source, source.files[0])),
            do="write holdfast.toml by hand: [tables.purchases] path and columns = { customer_id = ..., at = ... }",
        )
    _refuse_unread_amounts(sample, columns, source.files[0])
    only, told = _only(sample, columns)
    currency, timezone, guesses = _place(sample, columns)
    source = replace(source, columns=columns, only=only)
    days = _days_of(_plan_of(source, columns, timezone))
    horizon, active, argument = argue(days)
    said = [f"{theirs} is {ours}" for ours, theirs in columns.items()]
    evidence = ["columns: " + "; ".join(said), *told, *guesses, *argument]
    toml = _toml(_relative(path, Path(beside)), columns, only, (currency, timezone), (horizon, active))
    return Proposal(toml, tuple(evidence), columns, horizon, active)


def _refuse_unread_amounts(sample: pa.Table, columns: Mapping[str, str], file: str) -> None:
    """A shop that has amounts must not be taken for one without because they are written in a way we do not read."""
    if {"amount", "unit_price"} & set(columns):
        return
    for name in sample.column_names:
        texts = flat(sample[name])
        if _likeness(name, NAMES["amount"]) >= EXACT and texts.null_count < len(texts):
            raise BadData(
                f"the column {name} is called an amount, but cannot be read as one",
                where=file,
                allowed="plain numbers with a decimal point, such as 1234.50",
                got=", ".join(repr(str(text)) for text in pc.drop_null(texts)[:3].to_pylist()),
                do="export it without currency signs, thousands separators or decimal commas",
            )


def write(proposal: Proposal, path: str | Path, *, force: bool = False) -> None:
    """Write the settings. Raises UsageError where there are some already and `force` is not set, CannotWrite."""
    path = Path(path)
    if path.exists() and not force:
        raise UsageError("there are settings already", where=str(path), do="remove them, or say --force")
    try:
        path.write_text(proposal.toml, encoding="utf-8")
    except OSError as error:
        raise CannotWrite("the settings cannot be written", where=str(path), got=error.strerror) from None


def guess_columns(sample: pa.Table) -> dict[str, str]:
    """ours -> theirs, by name and by what a column holds; each of theirs at most once."""
    bids = [
        (strength, -place, ours, theirs)
        for ours, names in NAMES.items()
        for place, theirs in enumerate(sample.column_names)
        if (strength := _likeness(theirs, names)) and _holds(sample[theirs], ours)
    ]
    found: dict[str, str] = {}
    for _, _, ours, theirs in sorted(bids, reverse=True):
        if ours not in found and theirs not in found.values():
            found[ours] = theirs
    if "unit_price" in found and ("amount" in found or "quantity" not in found):
        del found["unit_price"]
    if "at" not in found:
        found |= _only_one(sample, "at", found)
    return {ours: found[ours] for ours in NAMES if ours in found}


EXACT = 2.0  # the likeness of a name that is one of ours to the letter


def _likeness(theirs: str, names: Sequence[str]) -> float:
    """How much a name says that its column is ours: the same word most, a part of it less; 0 not at all."""
    plain = re.sub(r"[\W_]+", "", theirs.lower())
    for place, name in enumerate(names):
        if plain == name:
            return 3.0 - place / 100
    for place, name in enumerate(names):
        if len(name) > 3 and (plain.startswith(name) or plain.endswith(name)):
            return 1.0 - place / 100
    return 0.0


def _holds(values: pa.ChunkedArray, ours: str) -> bool:
    """Whether nine of ten values that are there can be read as ours."""
    array = flat(values)
    if pa.types.is_nested(array.type):
        return False
    for order in ("", "dmy", "mdy") if ours == "at" or ours.endswith("_at") else ("",):
        typed, wrong, _ = read_column(array, CONTRACTS["purchases"][ours], Unit(order=order))
        there = len(typed) - typed.null_count + (int(wrong.sum()) if wrong is not None else 0)
        if there and (wrong is None or int(wrong.sum()) <= 0.1 * there) and typed.null_count < len(typed):
            return True
    return False


def _only_one(sample: pa.Table, ours: str, found: Mapping[str, str]) -> dict[str, str]:
    """The one column left that holds what is looked for."""
    free = [name for name in sample.column_names if name not in found.values() and _holds(sample[name], ours)]
    return {ours: free[0]} if len(free) == 1 else {}


def _only(sample: pa.Table, columns: Mapping[str, str]) -> tuple[dict[str, list[str]], list[str]]:
    """Which states of an order count, where the table says that some were called off."""
    if "status" not in columns:
        return {}, []
    words = flat(sample[columns["status"]]).cast(pa.string()).drop_null()
    counts = {item["values"]: item["counts"] for item in pc.value_counts(words).to_pylist()}
    done = sorted(word for word in counts if word.lower() in DONE)
    undone = sorted(word for word in counts if word.lower() in UNDONE)
    if not done or not undone:
        return {}, []
    share = sum(counts[word] for word in done) / sum(counts.values())
    return {"status": done}, [
        f"orders: {share:.1%} are {' or '.join(done)} and count; {', '.join(sorted(set(counts) - set(done)))} do not"
    ]


def _place(sample: pa.Table, columns: Mapping[str, str]) -> tuple[str, str, list[str]]:
    """Currency and time zone, and what speaks for them."""
    chinese = any(re.search(r"[\u4e00-\u9fff]", name) for name in sample.column_names)
    named = _currency_in(sample)
    currency = named or ("CNY" if chinese else "USD")
    kind = sample.schema.field(columns["at"]).type
    zone = str(kind.tz) if pa.types.is_timestamp(kind) and kind.tz and "/" in str(kind.tz) else ""
    timezone = zone or ("Asia/Shanghai" if chinese else "UTC")
    return (
        currency,
        timezone,
        [
            f"currency: {currency} ({'the table says so' if named else 'assumed; the table does not say'})",
            f"time zone: {timezone} ({'the times carry it' if zone else 'assumed; only times with a zone need it'})",
        ],
    )


def _currency_in(sample: pa.Table) -> str:
    for name in sample.column_names:
        if name.lower() in ("currency", "币种") and sample.num_rows:
            words = pc.unique(flat(sample[name]).cast(pa.string())).drop_null().to_pylist()
            if len(words) == 1 and re.fullmatch(r"[A-Z]{3}", words[0]):
                return str(words[0])
        for word in re.split(r"[\W_]+", name.lower()):
            if word in CURRENCIES:
                return CURRENCIES[word]
    return ""


def _plan_of(source: Source, columns: Mapping[str, str], timezone: str) -> Plan:
    return Plan(
        sources={"purchases": source},
        names={"purchases": columns},
        orders={"purchases": day_order(source, columns["at"])},
        unit=Unit(timezone),
        buckets=1,
        as_of=None,
        max_bad_share=1.0,
        with_orders=False,
    )


def _relative(path: str, beside: Path) -> str:
    """A path as the settings say it: relative to their folder where it lies in or near it."""
    if "://" in path:
        return path
    near = os.path.relpath(path, beside.resolve().parent)
    return str(Path(path).resolve()) if near.count("..") > 2 else near


def _toml(
    path: str,
    columns: Mapping[str, str],
    only: Mapping[str, list[str]],
    place: tuple[str, str],
    windows: tuple[int, int],
) -> str:
    """The settings as text; JSON writes strings the way TOML reads them."""

    def text(value: object) -> str:
        return json.dumps(value, ensure_ascii=False)

    renamed = ", ".join(f"{ours} = {text(theirs)}" for ours, theirs in columns.items() if ours != theirs)
    kept = ", ".join(f"{name} = {text(words)}" for name, words in only.items())
    lines = ["[shop]", f"currency = {text(place[0])}", f"timezone = {text(place[1])}", "", "[tables.purchases]"]
    lines += [f"path = {text(path)}"]
    lines += [f"columns = {{ {renamed} }}"] if renamed else []
    lines += [f"only = {{ {kept} }}"] if kept else []
    lines += ["", "[windows]", f"horizon = {windows[0]}", f"active = {windows[1]}"]
    return "\n".join(lines) + "\n"


# -- the gap curve -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Days:
    """Purchase days: `who` and `day` int64 (n,), once per customer and day, sorted; of a share of the customers."""

    who: Ints
    day: Ints
    share: float = 1.0

    @property
    def opens(self) -> NDArray[np.bool_]:
        """Each customer's first day."""
        return np.append(True, self.who[1:] != self.who[:-1])

    @property
    def closes(self) -> NDArray[np.bool_]:
        """Each customer's last day."""
        return np.append(self.who[1:] != self.who[:-1], True)

    @property
    def silence(self) -> Silence:
        """How long customers stay away, those who have not come back yet included."""
        gaps = np.diff(self.day)[~self.opens[1:]]
        still = int(self.day.max()) - self.day[self.closes]
        longest = int(max(gaps.max(initial=0), still.max(initial=0))) + 1
        return Silence(np.bincount(gaps, minlength=longest), np.bincount(still, minlength=longest))


def _days_of(plan: Plan) -> Days:
    """The purchase days of a table; of a large one, those of a random share of its customers."""
    every = 1 << max(0, (rows_guessed(plan.sources["purchases"]) // SAMPLED).bit_length())
    who, day = [np.zeros(0, np.uint64)], [np.zeros(0, np.int64)]
    counts, quarantine = Counts(), Quarantine()
    for rows in checked_rows(plan, "purchases", counts, quarantine):
        ids = hash_ids(flat(rows["customer_id"]))
        keep = (ints_of(rows, "amount") > 0) & (ids % np.uint64(every) == 0)
        who.append(ids[keep])
        day.append(ints_of(rows, "at")[keep])
    if not sum(map(len, day)):
        fates = ", ".join(f"{n:,} {FATES[fate]}" for fate, n in counts.as_dict().items() if n and fate in FATES)
        raise BadData(
            "no line is a purchase",
            where=plan.sources["purchases"].files[0],
            got=f"{counts.read:,} rows: {fates or 'none'}",
            do="\n           ".join(counts.first) or None,
        )
    return _unique(np.concatenate(who), np.concatenate(day), 1 / every)


def _unique(ids: NDArray[np.uint64], day: Ints, share: float) -> Days:
    who = np.unique(ids, return_inverse=True)[1]
    key = np.unique(who * np.int64(1 << 16) + day)
    return Days(key >> 16, key & 0xFFFF, share)


def argue(days: Days) -> tuple[int, int, list[str]]:
    """Horizon and active window for a log, and the argument in words.

    H is the shortest of the usual spans within which three of four purchases that follow another have come, A the
    shortest within which nine of ten have, at least twice H; neither longer than the log can bear.
    """
    span = int(days.day.max() - days.day.min()) + 1
    gaps = np.diff(days.day)[~days.opens[1:]]
    said = [*_customers_in_words(days, span, len(gaps))]
    bearable = [d for d in SPANS if 5 * d <= span] or [max(1, span // 5)]
    if not len(gaps):
        horizon = min(91, bearable[-1])
        return (
            horizon,
            2 * horizon,
            [*said, f"nobody has bought twice: H {horizon} and A {2 * horizon} are habit, not finding"],
        )
    shares = {d: float((gaps <= d).mean()) for d in SPANS}
    said.append("gaps between purchases: " + ", ".join(f"{share:.0%} within {d} days" for d, share in shares.items()))
    silence = days.silence
    back = {d: silence.returns(d, 365) for d in SPANS if d < len(silence.ended)}
    said.append(
        "of customers silent so long, these come back within a year: "
        + ", ".join(f"{d} days {share:.0%}" for d, share in back.items() if np.isfinite(share))
    )
    horizon = _shortest(shares, COMES_BACK, bearable)
    longest = max(2 * horizon, *(d for d in bearable if d <= span // 3), 0)
    active = _shortest(shares, SEEN, [d for d in SPANS if 2 * horizon <= d + 7 and d <= longest] or [2 * horizon])
    said.append(
        f"H = {horizon} days: {float((gaps <= horizon).mean()):.0%} of the next purchases come within it, and the log "
        f"({span} days) has room for {span // horizon} such horizons"
    )
    said.append(
        f"A = {active} days: {float((gaps <= active).mean()):.0%} of the next purchases come within it; longer "
        f"silences are lapsed customers, for the win-back list"
    )
    return horizon, active, said


def _shortest(shares: Mapping[int, float], enough: float, spans: Sequence[int]) -> int:
    """The shortest span that sees enough of the gaps; the longest where none does."""
    return next((d for d in spans if shares.get(d, 0.0) >= enough), spans[-1])


def _customers_in_words(days: Days, span: int, gaps: int) -> Iterator[str]:
    customers = int(days.opens.sum())
    once = int((days.opens & days.closes).sum())
    old = days.opens & (days.day <= days.day.max() - span // 3)
    waited = int((old & days.closes).sum()) / max(int(old.sum()), 1)
    of = "" if days.share == 1 else f" (a random {days.share:.1%} of the customers)"
    first, last = to_date(int(days.day.min())), to_date(int(days.day.max()))
    yield f"{customers:,} customers with {customers + gaps:,} purchase days from {first} to {last}{of}"
    yield f"bought once: {once / customers:.1%} of all, {waited:.1%} of those from the first two thirds"
    if waited > ONE_TIMERS:
        yield (
            "nearly all customers buy once: who returns at all is the question here, repeat churn is known of few; "
            "expect lists by base rates rather than by person"
        )


# -- check -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Check:
    """What was found in the tables, line by line; `sound` where an ingest would go through."""

    lines: tuple[str, ...]
    sound: bool
    counts: Mapping[str, Mapping[str, int]] = field(default_factory=dict)


def check(config: Config, progress: Progress = None) -> Check:
    """Read every table of the settings as an ingest would and say what would become of its rows; nothing is written.

    Raises what `ingest` raises for settings, files and columns; rows that cannot be used are named in the result.
    """
    plan = planned(config)
    tell = progress or (lambda line: None)
    lines: list[str] = []
    sound = True
    seen: dict[str, dict[str, int]] = {}
    days, orders = None, None
    for table in plan.sources:
        tell(f"checking {table}")
        if joined_by_order(table, plan.names[table]) and orders is None:
            raise no_orders()
        look = _looked_at(plan, table, orders)
        if table == "purchases":
            days, orders = look.days, pa.concat_tables(look.orders) if look.orders else None
        counts, duplicates = look.counts, look.duplicates
        seen[table] = {**counts.as_dict(), "duplicates": duplicates}
        fine = counts.bad <= plan.max_bad_share * max(counts.read - counts.filtered, 1)
        sound &= fine and (table != "purchases" or counts.bought > 0)
        lines += _table_in_words(table, counts, duplicates, fine, plan)
    if days is not None:
        lines += ["", *_windows_in_words(days, config.windows)]
    lines += ["", *_missing_in_words(plan)]
    return Check(tuple(lines), sound, seen)


@dataclass
class _Look:
    """What one pass over a table leaves behind."""

    counts: Counts = field(default_factory=Counts)
    lines: list[NDArray[np.uint64]] = field(default_factory=list)
    who: list[NDArray[np.uint64]] = field(default_factory=list)
    day: list[Ints] = field(default_factory=list)
    orders: list[pa.Table] = field(default_factory=list)

    def add(self, table: str, rows: pa.Table, joins: bool) -> None:
        self.lines.append(line_hashes(rows))
        if table == "purchases":
            keep = ints_of(rows, "amount") > 0
            self.who.append(hash_ids(flat(rows["customer_id"]))[keep])
            self.day.append(ints_of(rows, "at")[keep])
            if joins and "order_id" in rows.column_names:
                self.orders.append(rows.select(["order_id", "customer_id"]))

    @property
    def duplicates(self) -> int:
        """Lines that are there a second time."""
        every = np.concatenate([np.zeros(0, np.uint64), *self.lines])
        return len(every) - len(np.unique(every))

    @property
    def days(self) -> Days | None:
        return _unique(np.concatenate(self.who), np.concatenate(self.day), 1.0) if sum(map(len, self.day)) else None


def _looked_at(plan: Plan, table: str, orders: pa.Table | None) -> _Look:
    look = _Look()
    for rows in checked_rows(plan, table, look.counts, Quarantine(), orders):
        look.add(table, rows, plan.with_orders)
    return look


def line_hashes(rows: pa.Table) -> NDArray[np.uint64]:
    """One hash per line over all its columns: equal lines have equal ones."""
    total = np.zeros(rows.num_rows, np.uint64)
    for place, name in enumerate(sorted(rows.column_names)):
        total = mix(total * np.uint64(0x100000001B3) + _hashes(rows, name) + np.uint64(place))
    return total


def _hashes(rows: pa.Table, name: str) -> NDArray[np.uint64]:
    column = rows[name].combine_chunks() if isinstance(rows[name], pa.ChunkedArray) else rows[name]
    kind = column.type
    if pa.types.is_integer(kind):
        return ints_of(rows, name).view(np.uint64)
    if pa.types.is_floating(kind):
        return np.asarray(flat(column).fill_null(0.0).to_numpy(zero_copy_only=False)).view(np.uint64)
    return hash_ids(flat(column))


def _table_in_words(table: str, counts: Counts, duplicates: int, fine: bool, plan: Plan) -> Iterator[str]:
    fates = ", ".join(f"{n:,} {FATES[fate]}" for fate, n in counts.as_dict().items() if n and fate in FATES)
    yield f"{table}: {counts.read:,} rows; {fates or 'nothing in it'}"
    if duplicates:
        yield f"  {duplicates:,} lines are there more than once; they are all kept, two equal lines may be two pieces"
    if counts.bad:
        reasons = ", ".join(f"{n:,} {reason}" for reason, n in counts.reasons.most_common(4))
        yield f"  not usable: {reasons}"
        yield from (f"    {row}" for row in counts.first)
    if not fine:
        yield f"  too many: an ingest stops above a share of {plan.max_bad_share:g} ([ingest] max_bad_share)"


def _windows_in_words(days: Days, windows: WindowSettings) -> Iterator[str]:
    """How H and A divide the customers at the latest closed cutoffs."""
    last, first = int(days.day.max()), int(days.day.min())
    yield f"windows: H = {windows.horizon} days ahead, A = {windows.active} days back"
    cutoffs = [last - k * windows.horizon for k in (1, 2, 3) if last - k * windows.horizon >= first]
    if not cutoffs:
        yield f"  the log spans {last - first + 1} days: no horizon of {windows.horizon} days has closed in it"
    for cutoff in cutoffs:
        risk, gone = _balance(days, cutoff, windows)
        rate = f"{gone / risk:.1%} churned" if risk else "nobody to learn from"
        yield f"  cutoff {to_date(cutoff)}: {risk:,} at risk, {rate}"


def _balance(days: Days, cutoff: int, windows: WindowSettings) -> tuple[int, int]:
    """At a cutoff: customers at risk, and how many of them buy nothing in the horizon."""
    n = int(days.who.max()) + 1
    near = (days.day <= cutoff) & (days.day > cutoff - windows.active)
    ahead = (days.day > cutoff) & (days.day <= cutoff + windows.horizon)
    risk = np.bincount(days.who[near], minlength=n) > 0
    buys = np.bincount(days.who[ahead], minlength=n) > 0
    return int(risk.sum()), int((risk & ~buys).sum())


def _missing_in_words(plan: Plan) -> Iterator[str]:
    missing = [table for table in TABLES if table not in plan.sources]
    yield "what is not there, and what it costs:" if missing else "every table is there"
    yield from (f"  {table}: {COSTS[table]}" for table in missing)
    have: Iterable[str] = plan.names["purchases"]
    have = {*have, *({"amount"} if "unit_price" in have else ())}
    yield from (f"  purchases.{name}: {cost}" for name, cost in COLUMN_COSTS.items() if name not in have)
