"""The hold-out: who is kept untreated, so that one day it can be said what acting was worth.

Whoever is listed for the first time in a calendar quarter draws an arm that stays his for the quarter, in every list.
Drawing anew for each list, or contacting the held-out a month later, measures half of the true effect. The draw is a
salted hash of customer and quarter: nobody chooses, nothing needs to be remembered to repeat it, and a new quarter
draws anew. It is balanced within nine strata, thirds of risk by thirds of value, whose cuts are frozen by the
quarter's first list; the shares are rounded along the strata, so that a list of 400 at 10 % holds out 40 and not 31 or
52.

A hold-out is a price, so its size is planned: `detectable` says what a size can see, `rows_needed` what an effect asks
for.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import norm

TREATED, HELD_OUT, EXEMPT = "treated", "held out", "exempt"
WASH_OUT_DAYS = 91
RISK_ADJUSTED = 0.9  # a frozen forecast as covariate shortens the interval of retention by a tenth

ASSIGNMENT = (
    "customer_id",
    "quarter",
    "arm",
    "population",
    "stratum",
    "share",
    "exempt",
    "wash_out",
)
CUTS = ("risk_low", "risk_high", "value_low", "value_high")


@dataclass(frozen=True)
class Draw:
    """The outcome of a draw. `arms` holds the arm of everybody asked about, by customer_id; `new` the assignments that
    were drawn now (columns ASSIGNMENT) and `quarters` the rules that were frozen now, both to be written to the ledger
    before anybody sees the list."""

    arms: pd.Series
    new: pd.DataFrame
    quarters: tuple[dict[str, Any], ...]


def quarter_of(day: date) -> str:
    """The calendar quarter of a day, such as "2026Q4"."""
    return f"{day.year}Q{(day.month + 2) // 3}"


def salt(shop: str, seed: int, quarter: str) -> str:
    """The salt of a quarter's draw: the same for the same shop and seed, so that a run can be repeated."""
    return hashlib.sha256(f"hold-out|{shop}|{seed}|{quarter}".encode()).hexdigest()


def draw(
    entrants: pd.DataFrame,
    quarter: str,
    share: float,
    key: str,
    *,
    frozen: pd.DataFrame,
    assigned: pd.DataFrame,
    treated_before: set[str] | frozenset[str] = frozenset(),
) -> Draw:
    """Arms for everybody who is about to be listed.

    `entrants` has customer_id (unique), population, risk, value and exempt (True: never held out, counted apart).
    `frozen` and `assigned` are the ledger's rules and arms of this quarter; who is there keeps his arm. `share` counts
    only where the quarter has no rules yet: a changed setting begins with the next quarter. The result does not depend
    on the order of the rows.
    """
    known = assigned.set_index("customer_id")["arm"] if len(assigned) else pd.Series(dtype=object)
    fresh = entrants[~entrants["customer_id"].isin(known.index)].sort_values("customer_id", ignore_index=True)
    drawn, rules = [], []
    for population, group in fresh.groupby("population", sort=True):
        rule, is_new = _rule(frozen, group, quarter=quarter, population=str(population), share=share, key=key)
        rules += [rule] if is_new else []
        there = assigned[assigned["population"] == population] if len(assigned) else assigned
        drawn.append(_draw_one(group, rule, there))
    new = pd.concat(drawn, ignore_index=True) if drawn else pd.DataFrame(columns=list(ASSIGNMENT))
    new["wash_out"] = new["customer_id"].isin(treated_before)
    arms = pd.concat([known, new.set_index("customer_id")["arm"]]).reindex(entrants["customer_id"])
    return Draw(arms, new[list(ASSIGNMENT)].sort_values("customer_id", ignore_index=True), tuple(rules))


def _rule(
    frozen: pd.DataFrame, group: pd.DataFrame, *, quarter: str, population: str, share: float, key: str
) -> tuple[dict[str, Any], bool]:
    """The frozen rule of a quarter and population, or a new one cut by those who enter first."""
    there = frozen[frozen["population"] == population] if len(frozen) else frozen
    if len(there):
        return {str(name): value for name, value in there.iloc[0].items()}, False
    cuts = [*_thirds(group["risk"]), *_thirds(group["value"])]
    rule = {"quarter": quarter, "population": population, "share": share, "salt": key}
    return rule | dict(zip(CUTS, cuts, strict=True)), True


def _thirds(values: pd.Series) -> tuple[float, float]:
    known = values.dropna().to_numpy(float)
    if not len(known):
        return 0.0, 0.0
    low, high = np.quantile(known, [1 / 3, 2 / 3])
    return float(low), float(high)


def _draw_one(group: pd.DataFrame, rule: dict[str, Any], there: pd.DataFrame) -> pd.DataFrame:
    """Arms for one population's entrants: in each stratum those with the smallest hashes are held out."""
    risk = np.searchsorted([rule["risk_low"], rule["risk_high"]], group["risk"].fillna(0.0), side="left")
    value = np.searchsorted([rule["value_low"], rule["value_high"]], group["value"].fillna(0.0), side="left")
    stratum = np.array([f"risk {r + 1} of 3, value {v + 1} of 3" for r, v in zip(risk, value, strict=True)], object)
    exempt = group["exempt"].to_numpy(bool)
    order = hashes(group["customer_id"].to_numpy(object), rule["salt"])
    arm = np.where(exempt, EXEMPT, TREATED).astype(object)
    for name, wanted in _places(stratum[~exempt], there, rule).items():
        inside = np.flatnonzero((stratum == name) & ~exempt)
        arm[inside[np.argsort(order[inside], kind="stable")[:wanted]]] = HELD_OUT
    return pd.DataFrame(
        {
            "customer_id": group["customer_id"].to_numpy(object),
            "quarter": rule["quarter"],
            "arm": arm,
            "population": rule["population"],
            "stratum": stratum,
            "share": rule["share"],
            "exempt": exempt,
        }
    )


def _places(stratum: NDArray[np.object_], there: pd.DataFrame, rule: dict[str, Any]) -> dict[str, int]:
    """How many of each stratum's entrants are to be held out, given who already is.

    Shares are rounded cumulatively along the strata from a hashed start, so that each stratum is right within one
    place, all of them together too, and nobody's chance depends on the rounding.
    """
    drawn = there[there["arm"] != EXEMPT] if len(there) else there
    names, entering = np.unique(stratum.astype(str), return_counts=True)
    new = dict(zip(names.tolist(), entering.tolist(), strict=True))
    before, held = Counter(drawn["stratum"]), Counter(drawn.loc[drawn["arm"] == HELD_OUT, "stratum"])
    start = hashes(np.array([f"start|{rule['population']}"], object), rule["salt"])[0]
    total, so_far, places = 0, 0, dict[str, int]()
    for name in sorted(set(new) | set(before)):
        total += new.get(name, 0) + before[name]
        upto = int(np.floor(total * rule["share"] + start))
        places[name] = int(np.clip(upto - so_far - held[name], 0, new.get(name, 0)))
        so_far = upto
    return places


def hashes(customers: NDArray[np.object_], key: str) -> NDArray[np.float64]:
    """A number in [0, 1) for each id: 53 bits of BLAKE2b keyed with the quarter's salt."""
    secret = bytes.fromhex(key)[:32]
    digests = b"".join(
        hashlib.blake2b(str(one).encode("utf-8", "surrogatepass"), key=secret, digest_size=8).digest()
        for one in customers
    )
    return (np.frombuffer(digests, ">u8") >> np.uint64(11)).astype(np.float64) / float(2**53)


def detectable(
    rows: int, share: float, base: float, *, power: float = 0.8, level: float = 0.9, adjusted: float = RISK_ADJUSTED
) -> float:
    """The smallest difference in retention that `rows` closed rows show with this power, as a share of customers.

    (z_level + z_power) x sqrt(base (1 - base) (1/held + 1/treated)), shortened by the frozen forecast (`adjusted`, the
    ratio of adjusted to plain standard errors). NaN where an arm is empty.
    """
    held = rows * share
    if held < 1 or rows - held < 1:
        return float("nan")
    spread = np.sqrt(base * (1 - base) * (1 / held + 1 / (rows - held)))
    return float(adjusted * _reach(power, level) * spread)


def rows_needed(
    effect: float, share: float, base: float, *, power: float = 0.8, level: float = 0.9, adjusted: float = RISK_ADJUSTED
) -> int:
    """Closed rows, both arms together, that show a difference in retention of `effect` with this power."""
    per_row = adjusted * _reach(power, level) * np.sqrt(base * (1 - base) * (1 / share + 1 / (1 - share)))
    return int(np.ceil((per_row / effect) ** 2))


def _reach(power: float, level: float) -> float:
    """How many standard errors an effect must be to be seen so often."""
    return float(norm.ppf(0.5 + level / 2) + norm.ppf(power))
