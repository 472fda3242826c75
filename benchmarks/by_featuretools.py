"""The fifty features of benchmarks/features.py as a user of featuretools writes them, in an interpreter that has it.

    python benchmarks/by_featuretools.py ROWS.npz OUT.npz

ROWS holds who, day, amount and lines of customer-days, the cutoffs, the active window and the windows; OUT gets one
column per feature and `seconds`, the processor time. One call per window, all cutoffs in each, as `training_window`
wants it. featuretools stays out of holdfast's own dependencies: it is needed for this comparison only.
"""

from __future__ import annotations

import sys
import time
from typing import Any

import featuretools as ft
import numpy as np
import pandas as pd

DAY = 86_400


def entities(rows: Any) -> ft.EntitySet:
    """Customers and their days."""
    days = pd.DataFrame({name: rows[name] for name in ("who", "day", "amount", "lines")})
    days["day"], days["row"] = pd.to_datetime(days["day"], unit="D"), np.arange(len(days))
    days["amount"] = days["amount"].astype(float)
    made = ft.EntitySet("shop")
    made = made.add_dataframe(dataframe_name="days", dataframe=days, index="row", time_index="day")
    made = made.add_dataframe(
        dataframe_name="customers", dataframe=pd.DataFrame({"who": days.who.unique()}), index="who"
    )
    return made.add_relationship("customers", "who", "days", "who")


def asked(rows: Any) -> pd.DataFrame:
    """Who is at risk at which cutoff."""
    seen = pd.DataFrame({"who": rows["who"], "day": rows["day"]})
    pieces = []
    for cutoff in rows["cutoffs"]:
        recent = seen.who[(seen.day <= cutoff) & (seen.day > cutoff - rows["active"])]
        pieces.append(pd.DataFrame({"who": recent.unique(), "time": pd.to_datetime(cutoff, unit="D")}))
    return pd.concat(pieces, ignore_index=True)


def computed(made: ft.EntitySet, rows: pd.DataFrame, primitives: list[str], last: int | None, before: int = 0) -> Any:
    """One call: the primitives over a window of every row."""
    then = rows.assign(time=rows.time - pd.Timedelta(days=before))
    window = None if last is None else ft.Timedelta(last, "d")
    found, _ = ft.dfs(
        entityset=made, target_dataframe_name="customers", cutoff_time=then, training_window=window,
        agg_primitives=primitives, trans_primitives=[], max_depth=1, cutoff_time_in_index=True, n_jobs=1,
    )  # fmt: skip
    return found.reindex(pd.MultiIndex.from_frame(then))


def fifty(made: ft.EntitySet, rows: pd.DataFrame, lasts: list[int], befores: list[int]) -> dict[str, Any]:
    """Feature columns in the order of `rows`."""
    ever = ["time_since_last", "time_since_first", "avg_time_between", "count", "sum", "max", "min"]
    life = computed(made, rows, ever, None)
    found = {"recency": life["TIME_SINCE_LAST(days.day)"] / DAY, "tenure": life["TIME_SINCE_FIRST(days.day)"] / DAY}
    found |= {"days": life["COUNT(days)"], "spend": life["SUM(days.amount)"], "lines": life["SUM(days.lines)"]}
    found |= {"largest": life["MAX(days.amount)"], "smallest": life["MIN(days.amount)"]}
    found["gap"] = life["AVG_TIME_BETWEEN(days.day)"] / DAY
    for last in lasts:
        now = computed(made, rows, ["count", "sum", "mean", "max"], last)
        found |= {f"days{last}": now["COUNT(days)"], f"spend{last}": now["SUM(days.amount)"]}
        found |= {f"lines{last}": now["SUM(days.lines)"], f"ticket{last}": now["MEAN(days.amount)"]}
        found[f"largest{last}"] = now["MAX(days.amount)"]
    for last in befores:
        older = computed(made, rows, ["count", "sum"], last, last)
        found |= {f"days{last}b": older["COUNT(days)"], f"spend{last}b": older["SUM(days.amount)"]}
        spend = older["SUM(days.amount)"].replace(0, np.nan).to_numpy(float)
        found[f"change{last}"] = found[f"spend{last}"].to_numpy(float) / spend
    return {name: np.asarray(values, float) for name, values in found.items()}


def main(source: str, out: str) -> None:
    rows = np.load(source)
    made, wanted = entities(rows), asked(rows)
    start = time.process_time()
    found = fifty(made, wanted, rows["lasts"].tolist(), rows["befores"].tolist())
    spent = time.process_time() - start
    cutoff = (wanted.time - pd.Timestamp(0)).dt.days
    np.savez(out, who=wanted.who, cutoff=cutoff, seconds=spent, **found)


if __name__ == "__main__":
    main(*sys.argv[1:])
