"""Five features that must not be let in: each leaks the future in a way that real churn repositories do.

Written as a shop would write its own. The laws have to catch every one of them.
"""

import numpy as np

from features.catalogue import feature
from features.history import Floats, History

PHRASE = {"en": "leaks {value}", "zh-CN": "泄漏{value}"}


@feature(unit="count", absence="never", phrase=PHRASE)
def peeks_one_day_ahead(h: History) -> Floats:
    """Purchase days of the week that ends the day after the cutoff."""
    return h.later(1).count(7)


@feature(unit="money", absence="never", phrase=PHRASE)
def mean_of_the_full_history(h: History) -> Floats:
    """The customer's mean ticket over every row there is."""
    events = h.events()
    amount = np.bincount(events.who, events.measures["amount"], len(h.block.customers))
    return (amount / np.bincount(events.who, minlength=len(amount)))[h.who] / h.scale


@feature(unit="share", absence="never", phrase=PHRASE)
def target_encoding_without_time(h: History) -> Floats:
    """Share of the customers with the same number of purchases by the cutoff who bought in the horizon."""
    bought, group = h.later(h.H).count(h.H) > 0, h.count().astype(np.int64)
    rate: Floats = np.bincount(group, bought) / np.maximum(np.bincount(group), 1)
    spread: Floats = rate[group]
    return spread


@feature(unit="days", absence="never", phrase=PHRASE)
def last_day_of_the_data_as_clock(h: History) -> Floats:
    """Days from the last purchase to the last day of the log."""
    return h.events().day.max() - h.value("day")


@feature(unit="count", absence="never", phrase=PHRASE)
def place_in_an_order_that_knows_the_future(h: History) -> Floats:
    """The customer's place when all are sorted by the day they are last seen."""
    events = h.events()
    last = np.full(len(h.block.customers), -1)
    last[events.who] = events.day
    return np.argsort(np.argsort(last, kind="stable"))[h.who].astype(np.float64)
