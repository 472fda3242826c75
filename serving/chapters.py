"""The chapters of the report: what each page of a day says, in English or Chinese, from the findings.

A chapter is a function from findings to blocks. It says what is missing where something is; it works nothing out
that the other rooms give."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd

from features import define
from features.lifecycle import course, curve, taxonomy
from features.lifecycle.standing import TIERS
from features.windows import to_date
from models import contrast, satisfaction, segments, value
from serving import kpis, pictures
from serving.findings import Findings
from serving.page import Block, Chapter, Missing, Picture, Table, Text
from serving.pictures import Series

STEP = 28
STEPS = 14
CLUSTERS = 5
LIFE = "life"


@dataclass(frozen=True)
class Report:
    """The findings and the further passes over the store that only the report needs."""

    f: Findings

    def say(self, en: str, zh: str) -> str:
        return en if self.f.language == "en" else zh

    def headed(self, frame: pd.DataFrame) -> pd.DataFrame:
        """The frame with its column names in the report's language."""
        if self.f.language == "en":
            return frame.rename(columns={name: str(name).replace("_", " ") for name in frame.columns})
        return frame.rename(columns={name: ZH.get(str(name), str(name)) for name in frame.columns})

    def table(
        self, name: str, frame: pd.DataFrame, caption: str, formats: Mapping[str, str] | None = None, most: int = 40
    ) -> Table:
        told = self.headed(frame)
        form = {str(told.columns[k]): (formats or {}).get(str(old), "") for k, old in enumerate(frame.columns)}
        return Table(name, told, caption, form, most)

    @cached_property
    def weekly(self) -> kpis.Weekly:
        by = "region" if "region" in self.f.now.words and any(self.f.now.words["region"] != None) else None  # noqa: E711
        return kpis.weekly(self.f.store, self.f.as_of, self.f.config.span, by=by)

    @cached_property
    def triangle(self) -> pd.DataFrame:
        return kpis.triangle(self.f.store, self.f.as_of)

    @cached_property
    def life(self) -> curve.LifeCurve:
        f = self.f
        return curve.draw(
            f.store, f.as_of, f.config.span, f.store.first_day, margin=f.config.economics.margin, period=STEP
        )


# -- what the day is ---------------------------------------------------------------------------------------------------


def summary(r: Report) -> Iterator[Block]:
    f = r.f
    n, buyers, at_risk = len(f.now), int(f.now.bought.sum()), int(f.now.at_risk.sum())
    yield Text(
        r.say(
            f"{n:,} customers are known by {to_date(f.as_of)}; "
            f"{buyers:,} have bought, {at_risk:,} of them within the last "
            f"{f.config.span.active} days. Horizon {f.config.span.horizon} days. Money in {f.currency or 'units'}.",
            f"截至{to_date(f.as_of)}已知客户{n:,}人，其中{buyers:,}人购买过，"
            f"{at_risk:,}人在最近{f.config.span.active}天内购买。"
            f"展望期{f.config.span.horizon}天。金额单位：{f.currency or '件'}。",
        )
    )
    for name in f.missing_tables:
        yield Missing(r.say(f"No table {name}: {COSTS[name][0]}.", f"没有{name}表：{COSTS[name][1]}。"))
    if f.forecasts is None:
        yield Missing(r.say(f"No forecasts: {f.why_no_forecasts}.", f"没有预测：{f.why_no_forecasts}。"))
    figures = pd.DataFrame(
        [
            (r.say("customers who have bought", "已购买客户数"), float(buyers)),
            (r.say("profit so far", "累计利润"), float(f.profit.sum())),
            (r.say("customer equity (expected CLV, summed)", "客户资产（预期CLV之和）"), _sum(f.forecast("clv"))),
            (r.say("expected spend in the horizon", "展望期预期消费"), _sum(f.forecast("expected_spend"))),
            (r.say("customers likely to become of high value", "潜在高价值客户数"), float(f.potential_high.sum())),
            (r.say("mean satisfaction (0 to 1)", "平均满意度（0到1）"), _mean(f.satisfied.value)),
            (r.say("mean loyalty index (0 to 1)", "平均忠诚度指数（0到1）"), _mean(f.loyalty["loyalty"].to_numpy())),
        ],
        columns=["figure", "value"],
    )
    yield r.table("summary", figures, r.say("The day in figures", "当日概况"), {"value": ",.2f"})


def _sum(values: Any) -> float:
    return float(np.nansum(values)) if np.isfinite(values).any() else float("nan")


def _mean(values: Any) -> float:
    known = values[np.isfinite(values)]
    return float(known.mean()) if len(known) else float("nan")


# -- stages ------------------------------------------------------------------------------------------------------------


def stages(r: Report) -> Iterator[Block]:
    f = r.f
    for scheme in f.schemes.taxonomies:
        title = f"{scheme.title[f.language]} ({scheme.source})"
        if scheme.name in f.now.missing:
            needs = ", ".join(f.now.missing[scheme.name])
            yield Missing(r.say(f"{title}: needs the table {needs}.", f"{title}：需要{needs}表。"))
            continue
        yield r.table(
            f"stages_{scheme.name}", _cards(r, scheme), title, {"share": ".1%", "spend": ",.0f", "profit": ",.0f"}
        )
    yield from _movement(r)
    yield from _life_curve(r)


def _cards(r: Report, scheme: taxonomy.Taxonomy) -> pd.DataFrame:
    """Stage, customers, volume and profit, and the stage's card."""
    f, rows = r.f, []
    names = f.now.stages(scheme.name)
    for stage, count, share in taxonomy.shares(scheme, f.now.codes[scheme.name]):
        here = names == stage.name
        rows.append(
            {
                "stage": stage.label[f.language],
                "customers": count,
                "share": share,
                "spend": _sum(f.now.column("spend_1h")[here]) if count else 0.0,
                "profit": float(f.profit[here].sum()),
                "goal": stage.goal[f.language],
                "kpi": stage.kpi[f.language],
                "actions": ", ".join(stage.actions),
                "owner": stage.owner,
            }
        )
    return pd.DataFrame(rows)


def _movement(r: Report) -> Iterator[Block]:
    f = r.f
    if LIFE not in f.now.codes:
        return
    cutoffs = course.steps(f.as_of, f.store.first_day, STEP, STEPS)
    if len(cutoffs) < 2:
        yield Missing(r.say("Transitions need two cutoffs 28 days apart.", "阶段转移需要相隔28天的两个时点。"))
        return
    made = course.follow(f.store, cutoffs, f.config.span, f.schemes, [LIFE], edges=f.now.edges, as_of=f.as_of)[LIFE]
    label = {stage.name: stage.label[f.language] for stage in made.taxonomy.stages}
    matrix = made.matrix()
    wide = matrix.pivot(index="from", columns="to", values="share")
    order = [stage.name for stage in made.taxonomy.in_life if stage.name in wide.index]
    columns = [stage.name for stage in made.taxonomy.in_life if stage.name in wide.columns]
    caption = r.say(f"From one stage (left) to the next, {STEP} days later", f"阶段转移（左为起点），间隔{STEP}天")
    cells = wide.loc[order, columns].to_numpy(np.float64)
    picture = pictures.grid([label[n] for n in order], [label[n] for n in columns], cells, y_name=caption, most=1.0)
    yield Picture("transitions", picture, caption)
    yield r.table(
        "transitions",
        matrix.assign(**{"from": matrix["from"].map(label), "to": matrix["to"].map(label)}),
        r.say("Transition shares with 90 % intervals by customer", "转移比例与90%区间（按客户）"),
        {"share": ".1%", "low": ".1%", "high": ".1%"},
        most=60,
    )
    durations = made.durations()
    yield r.table(
        "durations",
        durations.assign(stage=durations["stage"].map(label)),
        r.say("How long a stage lasts, in days (censored spells counted)", "阶段持续天数（含删失）"),
        dict.fromkeys(("median", "low", "high", "mean_within"), ",.0f"),
    )
    moves = pd.DataFrame(made.counts, columns=[label[name] for name in made.names])
    x = made.cutoffs.astype(float)
    lines = [Series(str(name), moves[name].to_numpy(float)) for name in moves.columns if moves[name].sum()]
    caption = r.say("Customers by stage", "各阶段客户数")
    yield Picture(
        "stages_in_time",
        pictures.lines(x, lines, x_name="", y_name=caption, show_x=_date, show_y="{:,.0f}".format),
        caption,
    )


def _date(day: float) -> str:
    return str(to_date(int(day)))[2:]


def _life_curve(r: Report) -> Iterator[Block]:
    drawn = r.life
    table = drawn.by_age
    caption = r.say(
        "Typical life: profit a customer by age of the relationship", "典型客户生命曲线：按关系年龄的客均利润"
    )
    series = [
        Series(r.say("profit", "利润"), table["profit"].to_numpy()),
        Series(r.say("revenue", "收入"), table["revenue"].to_numpy()),
    ]
    if drawn.has_serving:
        series.append(Series(r.say("cost to serve", "服务成本"), table["cost_to_serve"].to_numpy()))
    days = table["from_day"].to_numpy(float)
    yield Picture(
        "life_curve",
        pictures.lines(days, series, x_name=r.say("days", "天"), y_name=caption, show_y="{:,.0f}".format),
        caption,
    )
    yield r.table(
        "life_curve", table, caption, dict.fromkeys(("visits", "revenue", "cost_to_serve", "profit"), ",.2f"), most=16
    )
    if not drawn.has_serving:
        yield Missing(r.say("Cost to serve needs the table costs or campaigns.", "服务成本需要costs或campaigns表。"))
    place = drawn.place[np.isfinite(drawn.place)]
    if len(place):
        ahead, behind = float((place > 1).mean()), float((place < 1).mean())
        yield Text(
            r.say(
                f"In their last {drawn.period} days {ahead:.0%} of "
                "the customers who can be placed brought more than is "
                f"typical of their age, {behind:.0%} less.",
                f"在最近{drawn.period}天，可定位的客户中{ahead:.0%}高于同龄典型水平，{behind:.0%}低于。",
            )
        )


# -- what lost means ---------------------------------------------------------------------------------------------------


def churn(r: Report) -> Iterator[Block]:
    f = r.f
    found = define.run(f.store, f.config, f.as_of)
    table = found.curve
    day = np.unique(table["day"].to_numpy(float))
    series = [
        Series(
            r.say(str(kind), {"after any purchase": "任一购买后", "after the first purchase": "首购后"}[str(kind)]),
            np.interp(day, one["day"], one["still_silent"], right=np.nan),
        )
        for kind, one in table.groupby("silence", sort=False)
    ]
    caption = r.say("Still silent after so many days", "沉默曲线：若干天后仍未再次购买的比例")
    yield Picture(
        "silence",
        pictures.lines(day, series, x_name=r.say("days", "天"), y_name=caption, show_y="{:.0%}".format),
        caption,
    )
    shares = (
        "churn_rate",
        "lowest",
        "highest",
        "swing",
        "too_early",
        "partial",
        "own_cadence",
        "agreement",
        "seen",
        "at_stake_share",
    )
    yield r.table(
        "definitions",
        found.table,
        r.say("Candidate definitions of churn", "流失定义候选"),
        {**dict.fromkeys(shares, ".1%"), "at_risk": ",.0f", "at_stake": ",.0f"},
    )
    if found.chosen is None:
        yield Missing(r.say("The log is too short for any of them.", "记录太短，无法判断。"))
        return
    one = found.chosen
    yield Text(
        r.say(
            f"The evidence argues for a horizon of {one.horizon} "
            f"days and an active window of {one.active}; in force are "
            f"{f.config.span.horizon} and {f.config.span.active}.",
            f"证据支持展望期{one.horizon}天、活跃窗口{one.active}天；"
            f"当前设置为{f.config.span.horizon}天和{f.config.span.active}天。",
        )
    )


# -- value -------------------------------------------------------------------------------------------------------------


def worth(r: Report) -> Iterator[Block]:
    f = r.f
    yield r.table(
        "ledger",
        f.ledger.totals(f.language).drop(columns="line"),
        r.say(
            "Lifecycle profit, line by line; a dash is a missing table, not zero",
            "生命周期利润明细；短横表示缺表，不是零",
        ),
        {"amount": ",.2f"},
    )
    yield r.table(
        "reconciliation",
        f.ledger.reconcile(f.store),
        r.say("The ledger against the store's tables", "与数据表核对"),
        dict.fromkeys(("ledger", "store", "difference"), ",.2f"),
    )
    for kind, amount in f.ledger.unallocated.items():
        yield Missing(
            r.say(
                f"{amount / f.ledger.scale:,.2f} of {kind} cost fits no customer.",
                f"{kind}成本{amount / f.ledger.scale:,.2f}无法分摊到客户。",
            )
        )
    yield from _formulas(r)
    yield from _pareto(r)
    yield from _uses(r)


MONEY = (
    "average_purchase",
    "clv_simple",
    "clv_simple_margin",
    "clv_profit",
    "historic",
    "clv_model",
    "clv_total",
    "acquisition",
)


def _formulas(r: Report) -> Iterator[Block]:
    f = r.f
    formats = {
        **dict.fromkeys(MONEY, ",.2f"),
        "churn": ".1%",
        "purchases": ",.2f",
        "life": ",.1f",
        "customers": ",.0f",
        "at_risk": ",.0f",
    }
    tier = np.array(TIERS, object)[f.now.tier]
    caption = r.say(
        f"Value by the simple formulas beside the model, per customer; rates per {f.config.span.horizon} days",
        f"简单公式与模型的客户价值对照（每位客户）；频率与流失率以{f.config.span.horizon}天计",
    )
    margin = f.config.economics.margin
    yield r.table("value_by_tier", value.by_group(tier, f.formulas, margin), caption, formats)
    if "channel" in f.now.words:
        table = value.by_group(f.now.words["channel"], f.formulas, margin)
        yield r.table("value_by_channel", table, r.say("Acquisition channels", "获取渠道"), formats)
    else:
        yield Missing(
            r.say("Value by acquisition channel needs customers.channel.", "渠道价值需要customers表的channel列。")
        )
    cohort = value.by_cohort(f.ledger.first_day)
    yield r.table(
        "value_by_cohort",
        value.by_group(cohort, f.formulas, margin),
        r.say("By quarter of the first purchase", "按首购季度"),
        formats,
    )
    yield _payback(r)
    yield _prospect(r)


def _payback(r: Report) -> Block:
    cac, table = r.f.ledger.cac, r.life.by_cohort
    if np.isnan(cac):
        return Missing(
            r.say("Payback time needs acquisition costs in the table costs.", "回收期需要costs表中的获取成本。")
        )
    rows = [(str(cohort), value.payback(one, cac)) for cohort, one in table.groupby("cohort", sort=True)]
    told = pd.DataFrame(rows, columns=["cohort", "payback"])
    caption = r.say(
        f"Periods of {STEP} days until a cohort's profit covers {cac:,.2f} of acquisition cost a customer",
        f"利润覆盖单客获取成本{cac:,.2f}所需的{STEP}天周期数",
    )
    return r.table("payback", told, caption, {"payback": ",.0f"}, most=13)


def _prospect(r: Report) -> Block:
    """CLV of a prospect by the six inputs, each with where it is from."""
    f = r.f
    c, all_ = f.formulas, value.formulas(f.formulas, f.config.economics.margin)
    leads = f.now.column("days_known") >= 0
    conversion = float(f.now.bought.sum() / max(int(leads.sum()), 1)) if "customers" in f.store.tables else np.nan
    lines = f.ledger.totals().set_index("line")["amount"]
    each = max(int(f.now.bought.sum()), 1)
    maintenance = -(lines["retention"] + lines["serving"] + lines["saving"]) / each
    worth_ = value.clv_six(
        conversion=conversion,
        order_value=all_["average_purchase"],
        orders=all_["purchases"],
        life=all_["life"],
        margin=f.config.economics.margin,
        maintenance=maintenance,
        acquisition=f.ledger.cac,
        activation=-lines["activation"] / each,
    )
    told = pd.DataFrame(
        [
            ("conversion", conversion),
            ("order value", all_["average_purchase"]),
            ("orders a period", all_["purchases"]),
            ("periods of life", all_["life"]),
            ("margin", f.config.economics.margin),
            ("maintenance", maintenance),
            ("acquisition", f.ledger.cac),
            ("activation", -lines["activation"] / each),
            ("CLV of a prospect", float(worth_)),
        ],
        columns=["input", "value"],
    )
    assert len(c) == len(f.now)
    return r.table(
        "prospect", told, r.say("A prospect's value from six inputs", "潜在客户价值（六要素公式）"), {"value": ",.3f"}
    )


def _pareto(r: Report) -> Iterator[Block]:
    f = r.f
    mine = np.where(f.now.bought, f.profit, np.nan)
    told = value.pareto(mine)
    caption = r.say(
        "Contribution: share of profit by share of customers, best first", "客户贡献度：按客户占比的利润占比"
    )
    picture = pictures.lines(
        told.share_of_customers,
        [Series(caption, told.share_of_value)],
        x_name=r.say("customers", "客户"),
        y_name=caption,
        show_x="{:.0%}".format,
        show_y="{:.0%}".format,
    )
    yield Picture("pareto", picture, caption)
    if np.isfinite(told.top_fifth):
        yield Text(
            r.say(
                f"The best fifth brings {told.top_fifth:.0%} of the profit; Gini {told.gini:.2f}.",
                f"前20%客户贡献利润的{told.top_fifth:.0%}；基尼系数{told.gini:.2f}。",
            )
        )
    sizes = np.bincount(f.now.tier, minlength=len(TIERS))
    spent = np.bincount(f.now.tier, np.nan_to_num(f.now.column(f.schemes.value)), len(TIERS))
    tiers = pd.DataFrame({"tier": TIERS, "customers": sizes, "spend": spent, "share": spent / max(spent.sum(), 1e-9)})
    edges = f"{f.now.edges[0]:,.2f}, {f.now.edges[1]:,.2f}"
    yield r.table(
        "tiers",
        tiers,
        r.say(f"Value tiers by {f.schemes.value} (edges {edges})", f"价值分层（{f.schemes.value}，界限{edges}）"),
        {"spend": ",.0f", "share": ".1%"},
    )


def _uses(r: Report) -> Iterator[Block]:
    f = r.f
    if LIFE in f.now.codes:
        risk = f.forecast("churn_probability") * np.maximum(f.forecast("value_if_active"), 0.0)
        table = value.invest_by_stage(f.now.stages(LIFE), f.now.column(f.schemes.value), risk, f.profit)
        yield r.table(
            "by_stage",
            table,
            r.say("Where the money is and where it is at risk: a budget by stage", "按阶段的价值与风险：预算分配"),
            {"profit": ",.0f", "value": ",.0f", "value_at_risk": ",.0f", "budget_share": ".1%"},
        )
    all_, H = value.formulas(f.formulas, f.config.economics.margin), f.config.span.horizon
    if np.isfinite(all_["churn"]) and all_["at_risk"] > 0:
        price = all_["average_purchase"]
        rate = (1 + f.config.economics.discount_rate) ** (H / 365.25) - 1
        base = value.Base(
            price,
            all_["purchases"],
            price * (1 - f.config.economics.margin),
            1 - all_["churn"],
            rate,
            0.0 if np.isnan(f.ledger.cac) else f.ledger.cac,
        )
        yield r.table(
            "what_if",
            value.what_ifs(base),
            r.say("What if: the value of the mean customer", "假设分析：平均客户价值"),
            {"clv": ",.2f", "difference": "+,.2f"},
        )
    here = f.now.at_risk
    high = here & (f.now.tier == TIERS.index("high"))
    if high.any():
        bought, paid = np.nan_to_num(f.now.column("purchase_days_2h")), np.nan_to_num(f.now.column("spend_2h"))
        target = float(bought[high].mean()), float(paid[high].sum() / max(bought[high].sum(), 1))
        gap = value.levers(bought, paid, *target)[here & ~high].mean()
        told = gap.rename("money").rename_axis("lever").reset_index()
        yield r.table(
            "levers",
            told,
            r.say(
                "What separates the mean customer from a high-value one: frequency or ticket",
                "与高价值客户的差距：频次还是客单",
            ),
            {"money": ",.2f"},
        )


# -- satisfaction ------------------------------------------------------------------------------------------------------


def mood(r: Report) -> Iterator[Block]:
    f = r.f
    shares = ("satisfied", "dissatisfied", "net", "response")
    asked = satisfaction.answers(f.store, f.as_of)
    if len(asked):
        yield r.table(
            "surveys",
            asked,
            r.say("What was answered", "调查结果"),
            {**dict.fromkeys(shares, ".1%"), **dict.fromkeys(("mean", "low", "high"), ".3f")},
        )
        yield Text(
            r.say(
                "Those who answer are not everybody: the angry and the delighted answer more often.",
                "回复者不代表全体：不满和非常满意者更常回复。",
            )
        )
    else:
        yield Missing(r.say("Measured satisfaction needs the table surveys.", "满意度测量需要surveys表。"))
    cover = f.satisfied.coverage
    yield Text(
        r.say(
            f"Satisfaction is an answer for {cover['survey']:.1%} "
            "of the customers, a proxy (complaints, returns, late "
            f"deliveries) for {cover['proxy']:.1%}, and unknown for the rest.",
            f"满意度来自调查的客户占{cover['survey']:.1%}，来自代理指标（投诉、"
            f"退货、延迟配送）的占{cover['proxy']:.1%}，其余未知。",
        )
    )
    fresh = f.now.column("days_since_survey") <= f.config.span.horizon
    answer = np.where(fresh, f.now.column("score_last"), np.nan)
    told = satisfaction.agreement(satisfaction.proxy(f.columns(satisfaction.FEATURES)), answer)
    if np.isfinite(told.correlation):
        yield Text(
            r.say(
                f"The proxy against {told.customers:,} answers of the "
                f"last horizon: rank correlation {told.correlation:.2f} "
                f"({told.low:.2f} to {told.high:.2f}), AUC for the dissatisfied {told.auc:.2f} (.5 is chance).",
                f"代理指标与最近一个展望期的{told.customers:,}个回答对照："
                f"秩相关{told.correlation:.2f}（{told.low:.2f}至{told.high:.2f}），"
                f"识别不满客户AUC {told.auc:.2f}（0.5为随机）。",
            )
        )
    else:
        yield Missing(r.say("The proxy cannot be held against answers here.", "此处无法检验代理指标。"))
    yield from _quadrants(r)
    yield from _loyalty(r)


def _quadrants(r: Report) -> Iterator[Block]:
    f = r.f
    known = int(sum(one is not None for one in f.quadrant))
    if not known:
        yield Missing(
            r.say(
                "Value x satisfaction needs surveys, complaints, returns or delivery dates.",
                "价值与满意度象限需要调查、投诉、退货或配送数据。",
            )
        )
        return
    rows = [
        {
            "quadrant": name,
            "label": card["label"][f.language],
            "customers": int((f.quadrant == name).sum()),
            "strategy": card["strategy"][f.language],
        }
        for name, card in satisfaction.QUADRANTS.items()
    ]
    share = known / max(int(f.now.at_risk.sum()), 1)
    yield r.table(
        "quadrants",
        pd.DataFrame(rows),
        r.say(
            f"Value x satisfaction of customers at risk (known for {share:.0%})",
            f"价值与满意度象限（活跃客户，已知{share:.0%}）",
        ),
    )


def _loyalty(r: Report) -> Iterator[Block]:
    f = r.f
    index = f.loyalty["loyalty"].to_numpy()
    if np.isfinite(index).any():
        edges = np.linspace(0, 1, 6)
        counts = np.histogram(index[np.isfinite(index)], edges)[0]
        names = [f"{a:.1f}–{b:.1f}" for a, b in pairwise(edges)]
        caption = r.say("Loyalty index: customers by band", "忠诚度指数分布")
        yield Picture("loyalty", pictures.bars(names, counts.astype(float), y_name=caption), caption)
    if f.before is None:
        yield Missing(
            r.say(
                "Who becomes loyal cannot be seen: the log is shorter than a horizon.",
                "记录短于展望期，无法观察忠诚形成。",
            )
        )
        return
    then, later = f.before, f.now.column("frequency")
    place = pd.Index(f.now.customer_id).get_indexer(pd.Index(then.customer_id))
    table = satisfaction.becoming_loyal(
        then.column("frequency"), then.column("recency"), later[place], f.config.span.horizon
    )
    yield r.table(
        "becoming_loyal",
        table,
        r.say("Who became loyal (three purchase days) a horizon later", "一个展望期后成为忠诚客户（三次购买）的比例"),
        dict.fromkeys(("share", "low", "high"), ".1%"),
    )
    segment = np.array(TIERS, object)[then.tier]
    linked = satisfaction.link(then.column("score_last"), f.bought_since[place], segment)
    if len(linked):
        yield r.table(
            "satisfaction_link",
            linked,
            r.say(
                "Satisfaction then and repurchase since (an association, per tenth of the scale)",
                "此前满意度与随后复购的关联（每0.1）",
            ),
            dict.fromkeys(("satisfied", "dissatisfied", "difference", "slope", "low", "high"), "+.1%"),
        )
    else:
        yield Missing(
            r.say(
                "The link from satisfaction to repurchase needs 30 scores a horizon ago.",
                "满意度与复购关联需要一个展望期前至少30个评分。",
            )
        )


# -- reasons -----------------------------------------------------------------------------------------------------------


def why(r: Report) -> Iterator[Block]:
    f = r.f
    causes = f.causes
    if len(causes):
        told = contrast.root_causes(causes["cause"].to_numpy(object), f.language)
        yield r.table(
            "causes",
            told,
            r.say(
                "Likely causes of customers who decline or who said why, whose job it is, what to do",
                "衰退客户的可能原因、负责人与对策",
            ),
            {"share": ".1%", "quoted": ".0%"},
        )
    table, agree, kappa = contrast.confusion(causes["stated"].to_numpy(object), causes["cause"].to_numpy(object))
    if len(table):
        yield r.table(
            "stated",
            table.reset_index(),
            r.say(
                f"Stated (rows) against inferred causes: {agree:.0%} agree, kappa {kappa:.2f}",
                f"客户自述（行）与推断原因：一致{agree:.0%}，kappa {kappa:.2f}",
            ),
        )
    else:
        yield Missing(
            r.say(
                "Stated reasons need exit surveys (surveys of kind exit with a reason).",
                "自述原因需要流失调查（kind为exit且含reason）。",
            )
        )
    yield from _contrast(r)


def _contrast(r: Report) -> Iterator[Block]:
    f = r.f
    if f.before is None:
        yield Missing(r.say("Churned against retained needs a closed horizon.", "流失与留存对比需要已结束的展望期。"))
        return
    then = f.before
    place = pd.Index(f.now.customer_id).get_indexer(pd.Index(then.customer_id))
    bought = f.bought_since[place]
    rows = then.at_risk & ~np.isnan(bought)
    gone = (bought == 0)[rows]
    names = tuple(dict.fromkeys((*satisfaction.FEATURES, *segments.FEATURES, "spend_1h", "tenure", "spend_change_1h")))
    columns = {name: then.column(name)[rows] for name in names}
    if min(int(gone.sum()), int((~gone).sum())) < 2:
        yield Missing(r.say("Too few of one kind to contrast.", "样本太少，无法对比。"))
        return
    cell = contrast.cells(columns["frequency"], columns["tenure"], then.tier[rows])
    formats = {**dict.fromkeys(("effect", "low", "high"), "+.2f"), "lift": ".2f", "churned": ",.3g", "retained": ",.3g"}
    yield r.table(
        "contrast",
        contrast.contrast(columns, gone),
        r.say(
            "Churned against retained, strongest first (effect in standard deviations)",
            "流失与留存客户对比（效应以标准差计）",
        ),
        formats,
        most=15,
    )
    yield r.table(
        "contrast_matched",
        contrast.matched(columns, gone, cell),
        r.say(
            "The same within cells of equal purchase days, tenure and value",
            "同类匹配后的对比（购买次数、客龄、价值相同）",
        ),
        formats,
        most=15,
    )


# -- segments ----------------------------------------------------------------------------------------------------------


def parts(r: Report) -> Iterator[Block]:
    f = r.f
    counted = f.rfm["segment"].value_counts().rename_axis("segment").rename("customers").reset_index()
    named = {name: zh for name, zh, *_ in segments.RFM}
    yield r.table(
        "rfm",
        counted.assign(label=[r.say(str(n), named.get(str(n), "")) for n in counted["segment"]]),
        r.say("By recency, frequency and money", "RFM分群"),
    )
    yield from _clusters(r)
    favourite = segments.favourites(f.store, f.as_of, f.config.span)
    if favourite:
        tier = np.array([None if t == "none" else t for t in np.array(TIERS, object)[f.now.tier]], object)
        likes = np.array([favourite.get(str(one)) for one in f.now.customer_id], object)
        name = segments.value_need_preference(tier, likes, f.now.column("mix_shift_1h"))[f.now.at_risk]
        told = pd.Series(name).value_counts().rename_axis("segment").rename("customers").reset_index()
        yield r.table(
            "value_need",
            told,
            r.say("Value, preference and need (customers at risk)", "价值、偏好与需求（活跃客户）"),
            most=15,
        )
    else:
        yield Missing(
            r.say(
                "Value x need x preference needs purchases.category.",
                "价值、需求、偏好分群需要purchases表的category列。",
            )
        )
    yield from _people(r)
    answers = segments.attitudes(f.store, f.as_of, f.config.span)
    if len(answers):
        yield r.table("attitudes", answers, r.say("Attitudes, of those asked", "态度（被询问者）"), {"share": ".1%"})
    else:
        yield Missing(
            r.say(
                "Psychographic segments need the table attitudes; they are never imputed.",
                "心理细分需要attitudes表；不作推断。",
            )
        )


def _clusters(r: Report) -> Iterator[Block]:
    f = r.f
    columns = {name: np.where(f.now.bought, f.now.column(name), np.nan) for name in segments.CLUSTERED}
    columns = {name: values for name, values in columns.items() if np.isfinite(values).any()}
    if len(columns) < 2:
        return
    made = segments.cluster(columns, f.now.customer_id, CLUSTERS)
    code = made.assign(columns)
    yield r.table(
        "clusters",
        made.describe(columns, code),
        r.say("Clusters of behaviour (medians)", "行为聚类（中位数）"),
        {"share": ".1%", **dict.fromkeys(columns, ",.1f")},
    )
    if f.before is not None and all(name in f.before.columns for name in made.names):
        then = {name: np.where(f.before.bought, f.before.column(name), np.nan) for name in made.names}
        earlier = segments.cluster(then, f.before.customer_id, CLUSTERS)
        place = pd.Index(f.now.customer_id).get_indexer(pd.Index(f.before.customer_id))
        index = (
            segments.rand_index(earlier.assign({n: v[place] for n, v in columns.items()}), code[place])
            if earlier.names == made.names
            else np.nan
        )
        yield Text(
            r.say(
                "Fitted a horizon ago, the clusters put today's customers together alike "
                f"with an adjusted Rand index of {index:.2f} (1 is the same, 0 chance).",
                f"一个展望期前拟合的聚类与今日聚类的调整兰德指数为{index:.2f}（1为相同，0为随机）。",
            )
        )


def _people(r: Report) -> Iterator[Block]:
    f = r.f
    if "customers" not in f.store.tables:
        yield Missing(
            r.say("Demographic and regional segments need the table customers.", "人口与地域细分需要customers表。")
        )
        return
    who = segments.people(f.store, f.as_of, f.config.span)
    high = f.now.tier == TIERS.index("high")
    buyers = f.now.bought
    yield r.table(
        "lookalike",
        segments.lookalike(who[buyers], high[buyers]),
        r.say("Where high-value customers come from", "高价值客户画像"),
        {**dict.fromkeys(("high_value", "low", "high"), ".1%"), "lift": ".2f"},
        most=25,
    )


# -- week by week ------------------------------------------------------------------------------------------------------


def figures(r: Report) -> Iterator[Block]:
    f, weekly = r.f, r.weekly
    percent = {
        kpi.name for kpi in kpis.KPIS if kpi.kind in ("share", "mean") and kpi.name not in ("csat", "views_per_visit")
    }
    latest = weekly.latest(f.language)
    shown = latest.assign(
        **{
            c: [_figure(n, v, percent) for n, v in zip(latest["kpi"], latest[c], strict=True)]
            for c in ("value", "low", "high", "recent", "before")
        }
    )
    shown["verdict"] = [r.say(v, VERDICTS[v]) for v in shown["verdict"]]
    yield r.table(
        "kpis_latest",
        shown.drop(columns="kpi"),
        r.say(
            "The latest week, and the last four weeks against the four "
            "before (figures of a whole horizon against the one before)",
            "最近一周，以及近四周与此前四周对比（整展望期指标与上一展望期对比）",
        ),
        {"p": ".3f"},
    )
    for name, needs in weekly.missing().items():
        label = kpis.LABELS[name][0 if f.language == "en" else 1]
        yield Missing(r.say(f"{label}: needs {', '.join(needs)}.", f"{label}：需要{'、'.join(needs)}表。"))
    yield from _weeks(r, weekly)
    if len(weekly.groups) > 1:
        yield r.table(
            "kpis_by_region",
            _by_group(weekly, f.language),
            r.say("By region, last four weeks", "按地区，近四周"),
            most=60,
        )
    yield from _retention(r)


VERDICTS = {"up": "上升", "down": "下降", "no change beyond noise": "无显著变化", "too early": "为时过早"}


def _figure(name: str, number: float, percent: set[str]) -> str:
    if not np.isfinite(number):
        return "—"
    return f"{number:.1%}" if name in percent else f"{number:,.2f}"


def _weeks(r: Report, weekly: kpis.Weekly) -> Iterator[Block]:
    wanted = ("active", "churn_rate", "repurchase_rate", "csat", "complaint_rate", "return_rate", "revenue")
    for kpi in weekly.present():
        if kpi.name in wanted and len(weekly.weeks) > 1:
            values, low, high = (part[0] for part in weekly.values(kpi))
            caption = kpi.label[r.f.language]
            form = "{:.1%}" if kpi.kind in ("share", "mean") and kpi.name != "csat" else "{:,.4g}"
            svg = pictures.lines(
                weekly.weeks.astype(float),
                [Series(caption, values, low, high)],
                x_name="",
                y_name=caption,
                show_x=_date,
                show_y=form.format,
                height=200,
                from_zero=kpi.name != "active",
            )
            yield Picture(f"kpi_{kpi.name}", svg, caption)


def _by_group(weekly: kpis.Weekly, language: str) -> pd.DataFrame:
    """The last four weeks of each group, figures down and groups across."""
    rows = []
    for kpi in weekly.present():
        above, below = weekly.sums[kpi.above][:, -4:].sum(axis=1), None
        if kpi.below is not None:
            below = weekly.sums[kpi.below][:, -4:].sum(axis=1)
        with np.errstate(invalid="ignore", divide="ignore"):
            told = above / 4 if below is None else above / np.where(below > 0, below, np.nan)
        rows.append({"figure": kpi.label[language], **dict(zip(weekly.groups, told, strict=True))})
    return pd.DataFrame(rows)


def _retention(r: Report) -> Iterator[Block]:
    table = r.triangle
    if not len(table):
        yield Missing(r.say("Retention needs 28 days of purchases.", "留存需要28天的购买记录。"))
        return
    wide = table[(table["age"] <= 12) & (table["customers"] >= 10)].pivot(index="cohort", columns="age", values="share")
    if wide.shape[1] > 1:
        caption = r.say(
            "Retention: share of a cohort that buys in each later period of 28 days",
            "留存：各队列在之后每28天内购买的比例",
        )
        values = wide.iloc[:, 1:].to_numpy(np.float64)
        rows, columns = [str(c) for c in wide.index], [str(a) for a in wide.columns[1:]]
        yield Picture("retention", pictures.grid(rows, columns, values, y_name=caption), caption)
    yield r.table(
        "retention",
        table,
        r.say("Retention by cohort and age, with 90 % intervals", "按队列与年龄的留存率与90%区间"),
        dict.fromkeys(("share", "low", "high"), ".1%"),
        most=14,
    )
    early, late, p, verdict = kpis.compare_cohorts(table, 1)
    if np.isfinite(p):
        yield Text(
            r.say(
                f"In the period after their first, {early:.1%} of the earlier half of the "
                f"cohorts bought and {late:.1%} of the later half: {verdict} (p = {p:.3f}).",
                f"首期之后一期的购买率：较早队列{early:.1%}，较晚队列{late:.1%}：{VERDICTS[verdict]}（p = {p:.3f}）。",
            )
        )


CHAPTERS: Sequence[tuple[str, str, str, Callable[[Report], Iterator[Block]]]] = (
    ("summary", "The day", "概况", summary),
    ("stages", "Stages of life", "生命周期阶段", stages),
    ("churn", "What lost means here", "流失定义", churn),
    ("value", "Value and profit", "价值与利润", worth),
    ("satisfaction", "Satisfaction and loyalty", "满意度与忠诚度", mood),
    ("reasons", "Why they leave", "流失原因", why),
    ("segments", "Segments", "客户细分", parts),
    ("kpis", "Week by week", "每周指标", figures),
)


def write(f: Findings) -> list[Chapter]:
    """Every chapter of the report."""
    report = Report(f)
    return [Chapter(name, report.say(en, zh), tuple(make(report))) for name, en, zh, make in CHAPTERS]


COSTS: Mapping[str, tuple[str, str]] = {
    "purchases": ("nothing can be said", "无法分析"),
    "returns": ("return rates and net profit are not known", "退货率与净利润未知"),
    "complaints": ("service evidence and complaint rates are not known", "服务证据与投诉率未知"),
    "surveys": ("satisfaction is not measured, reasons are not stated", "满意度未测量，原因未自述"),
    "events": ("the conversion funnel and browsing are not known", "转化漏斗与浏览行为未知"),
    "campaigns": ("response to contacts is not known", "营销响应未知"),
    "costs": ("acquisition, service and retention cost are not known", "获取、服务与保留成本未知"),
    "referrals": ("advocacy and referral income are not known", "推荐与推荐收益未知"),
    "customers": ("leads, channels, regions and demographics are not known", "潜在客户、渠道、地区与人口特征未知"),
    "attitudes": ("psychographic segments are not known", "心理特征未知"),
}

ZH: Mapping[str, str] = {
    "figure": "指标",
    "value": "数值",
    "stage": "阶段",
    "customers": "客户数",
    "share": "占比",
    "spend": "消费",
    "profit": "利润",
    "goal": "目标",
    "kpi": "指标",
    "actions": "措施",
    "owner": "负责人",
    "from": "从",
    "to": "到",
    "steps": "次数",
    "low": "下限",
    "high": "上限",
    "spells": "段数",
    "ended": "已结束",
    "median": "中位天数",
    "mean_within": "观察期内平均",
    "within": "观察期",
    "age": "期数",
    "from_day": "起始天",
    "visits": "购买次数",
    "revenue": "收入",
    "cost_to_serve": "服务成本",
    "label": "名称",
    "amount": "金额",
    "tables": "来源表",
    "lacks": "缺少",
    "note": "说明",
    "source": "来源",
    "ledger": "账本",
    "store": "数据",
    "difference": "差额",
    "group": "组",
    "at_risk": "活跃",
    "average_purchase": "客单价",
    "purchases": "购买频次",
    "churn": "流失率",
    "life": "寿命（期）",
    "clv_simple": "CLV（收入）",
    "clv_simple_margin": "CLV（毛利）",
    "clv_profit": "CLV（利润）",
    "historic": "历史利润",
    "clv_model": "模型CLV",
    "clv_total": "总CLV",
    "acquisition": "获取成本",
    "cohort": "队列",
    "payback": "回收期",
    "input": "要素",
    "tier": "层级",
    "value_at_risk": "风险价值",
    "budget_share": "预算占比",
    "case": "情形",
    "clv": "CLV",
    "lever": "杠杆",
    "money": "金额",
    "kind": "类型",
    "channel": "渠道",
    "answers": "回答数",
    "mean": "均值",
    "satisfied": "满意",
    "dissatisfied": "不满",
    "net": "净推荐",
    "invited": "邀请数",
    "response": "回复率",
    "quadrant": "象限",
    "strategy": "策略",
    "purchase_days": "购买次数",
    "silent_quarters": "沉默（四分之一展望期）",
    "segment": "细分",
    "slope": "斜率",
    "cause": "原因",
    "quoted": "行业参考",
    "remedy": "对策",
    "stated": "自述",
    "feature": "特征",
    "churned": "流失均值",
    "retained": "留存均值",
    "lift": "倍数",
    "effect": "效应",
    "churned_n": "流失数",
    "retained_n": "留存数",
    "cluster": "聚类",
    "attribute": "属性",
    "high_value": "高价值占比",
    "question": "问题",
    "answer": "回答",
    "recent": "近期",
    "before": "此前",
    "verdict": "结论",
    "bought": "购买人数",
    "horizon": "展望期",
    "active": "活跃窗口",
    "cutoffs": "时点数",
    "churn_rate": "流失率",
    "lowest": "最低",
    "highest": "最高",
    "swing": "波动",
    "too_early": "过早",
    "partial": "部分流失",
    "own_cadence": "自身节奏流失",
    "agreement": "一致",
    "seen": "覆盖",
    "at_stake": "涉及金额",
    "at_stake_share": "涉及占比",
    "p": "p",
}
