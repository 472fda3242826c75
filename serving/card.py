"""`holdfast card CUSTOMER`: one customer on one page.

Facts, where he stands in each scheme and why, what he is worth line by line, how content and how loyal he is, what
is expected of him, and what to do next: the stage's actions and the strategy of his quadrant. What is not known is
a dash with its reason, never a zero."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd

from features.catalogue import catalogue, show
from features.config import Config
from features.errors import MissingInput
from features.lifecycle.standing import TIERS
from features.windows import to_date
from models import satisfaction, segments
from serving import page
from serving.findings import Findings, find
from serving.page import Block, Chapter, Missing, Table, Text

Progress = Callable[[str], None] | None

FACTS = ("tenure", "frequency", "recency", "gap_mean", "overdue_ratio", "spend_total", "spend_1h", "ticket_mean",
         "reactivations", "categories", "return_share", "complaint_rate", "referrals_made")  # fmt: skip


@dataclass(frozen=True)
class Card:
    """A customer's page."""

    customer_id: str
    language: str
    chapters: tuple[Chapter, ...]

    @property
    def lines(self) -> list[str]:
        """What `holdfast card` prints."""
        return [self.customer_id, *page.plain(self.chapters)]

    @property
    def html(self) -> str:
        """The page as one self-contained file."""
        return page.html(self.customer_id, "", self.chapters, self.language)


def run(config: Config, customer_id: str, as_of: int | None = None, progress: Progress = None) -> Card:
    """The card of a customer on a day (the store's last one by default).

    Raises MissingInput where there is no store or nobody of that id is known by then.
    """
    return of(find(config, as_of, progress), customer_id)


def of(f: Findings, customer_id: str) -> Card:
    """The card from a day's findings."""
    row = f.now.row(customer_id)
    if row is None:
        raise MissingInput(
            "no such customer is known by that day",
            where=str(f.store.folder),
            got=f"{customer_id!r} on {to_date(f.as_of)}",
        )
    made = _Maker(f, row)
    chapters = tuple(Chapter(name, made.say(en, zh), tuple(make())) for name, en, zh, make in (
        ("facts", "Facts", "基本情况", made.facts),
        ("stages", "Where the customer stands", "所处阶段", made.stages),
        ("value", "Value", "价值", made.value),
        ("mood", "Satisfaction and loyalty", "满意度与忠诚度", made.mood),
        ("next", "What to do", "下一步", made.next),
    ))  # fmt: skip
    return Card(customer_id, f.language, chapters)


@dataclass(frozen=True)
class _Maker:
    """The chapters of one row of the findings."""

    f: Findings
    row: int

    def say(self, en: str, zh: str) -> str:
        return en if self.f.language == "en" else zh

    def _figure(self, name: str, value: float) -> tuple[str, str]:
        """A feature as name and value in its unit."""
        feature = catalogue()[name]
        return feature.say(value, self.f.language, self.f.config.span, self.f.currency), name

    def facts(self) -> Iterator[Block]:
        f, row = self.f, self.row
        words = [f"{word}: {values[row]}" for word, values in f.now.words.items() if values[row] is not None]
        if words:
            yield Text(", ".join(words))
        told: list[tuple[str, float]] = []
        absent: list[tuple[str, float]] = []
        for name in FACTS:
            if name not in f.now.columns:
                continue
            value = float(f.now.column(name)[row])
            (absent if np.isnan(value) else told).append((name, value))
        for name, value in told:
            yield Text(self._figure(name, value)[0])
        for name, _ in absent:
            yield Missing(f"{name}: {catalogue()[name].absence}")

    def stages(self) -> Iterator[Block]:
        f = self.f
        rows = []
        for scheme in f.schemes.taxonomies:
            if scheme.name in f.now.missing:
                rows.append(
                    (scheme.title[f.language], "—", self.say("needs ", "需要") + ", ".join(f.now.missing[scheme.name]))
                )
                continue
            stage = f.now.stage_of(scheme.name, self.row)
            rows.append(
                (scheme.title[f.language], stage.label[f.language], f.now.say(scheme.name, self.row, f.language))
            )
        names = [self.say("scheme", "方案"), self.say("stage", "阶段"), self.say("because", "依据")]
        yield Table("stages", pd.DataFrame(rows, columns=names), self.say("Stage in each scheme", "各方案中的阶段"))

    def value(self) -> Iterator[Block]:
        f, row = self.f, self.row
        tier = TIERS[f.now.tier[row]]
        zh = {"none": "无", "low": "低", "mid": "中", "high": "高"}[tier]
        yield Text(
            self.say(f"Value tier: {tier}", f"价值层：{zh}")
            + (self.say(", likely to become high", "，潜在高价值") if f.potential_high[row] else "")
        )
        order = f.ordering[row]
        yield Text(
            self.say("Place in the order of customers (0 to 100): ", "客户排序指数（0到100）：")
            + page.show(float(order), ".1f")
        )
        segment = f.rfm["segment"][row]
        if isinstance(segment, str):
            named = {name: label for name, label, *_ in segments.RFM}
            yield Text(self.say(f"RFM segment: {segment}", f"RFM分群：{named[segment]}"))
        ledger = f.ledger.of(row, f.language)[["label", "amount", "lacks", "note"]]
        total = pd.DataFrame([{"label": self.say("profit", "利润"), "amount": f.profit[row], "lacks": "", "note": ""}])
        table = pd.concat([ledger, total], ignore_index=True)
        table.columns = [
            self.say("line", "项目"),
            self.say("amount", "金额"),
            self.say("lacks", "缺少"),
            self.say("note", "说明"),
        ]
        yield Table("ledger", table, self.say("Lifecycle profit", "生命周期利润"), {str(table.columns[1]): ",.2f"})
        yield from self._forecast()

    def _forecast(self) -> Iterator[Block]:
        f, row = self.f, self.row
        if f.forecasts is None:
            yield Missing(self.say(f"No forecasts: {f.why_no_forecasts}.", f"没有预测：{f.why_no_forecasts}。"))
            return
        p, spend, clv = (float(f.forecast(name)[row]) for name in ("churn_probability", "expected_spend", "clv"))
        if np.isnan(p):
            yield Missing(self.say("No forecast: not at risk on that day.", "无预测：当日不属于活跃客户。"))
            return
        H = f.config.span.horizon
        yield Text(
            self.say(
                f"Churn probability in {H} days {p:.0%}, expected spend {show(spend, 'money', 'en', f.currency)}, "
                f"CLV {show(clv, 'money', 'en', f.currency)}",
                f"{H}天内流失概率{p:.0%}，预期消费{show(spend, 'money', 'zh-CN', f.currency)}，"
                f"CLV {show(clv, 'money', 'zh-CN', f.currency)}",
            )
        )

    def mood(self) -> Iterator[Block]:
        f, row = self.f, self.row
        source = f.satisfied.source[row]
        if source is None:
            yield Missing(
                self.say(
                    "Satisfaction is not known: no answer, and no table a proxy could be made of.",
                    "满意度未知：没有回答，也没有可作代理的数据表。",
                )
            )
        else:
            name = self.say(str(source), "调查" if source == "survey" else "代理指标")
            yield Text(
                self.say(
                    f"Satisfaction {f.satisfied.value[row]:.2f} of 1 ({name})",
                    f"满意度{f.satisfied.value[row]:.2f}（满分1，来源：{name}）",
                )
            )
        loyal = float(f.loyalty["loyalty"][row])
        yield Text(self.say("Loyalty index (0 to 1): ", "忠诚度指数（0到1）：") + page.show(loyal, ".2f"))
        quadrant = f.quadrant[row]
        if quadrant is not None:
            yield Text(satisfaction.QUADRANTS[quadrant]["label"][f.language])

    def next(self) -> Iterator[Block]:
        f = self.f
        causes = f.causes[f.causes["customer_id"] == f.now.customer_id[self.row]]
        for evidence in causes["evidence"]:
            yield Text(self.say(f"Likely cause: {evidence}", f"可能原因：{evidence}"))
        if "life" in f.now.codes:
            stage = f.now.stage_of("life", self.row)
            yield Text(f"{stage.goal[f.language]} ({', '.join(stage.actions)}; {stage.owner})")
        quadrant = f.quadrant[self.row]
        if quadrant is not None:
            yield Text(satisfaction.QUADRANTS[quadrant]["strategy"][f.language])
