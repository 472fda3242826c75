"""The constants of the forecasting procedure, each with its reason.

They come from a study on six real logs (23 cutoffs, other horizons, seasons and sizes) in which one procedure served
all of them, but for those on few events, which were chosen on the logs that `docs/model.md` names. What a shop may
want to change is in `[model]` of holdfast.toml and arrives here by `Procedure.of`; the rest are constants of the
method, kept in one place so that an ablation is one `replace`.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field

from features.config import Model


@dataclass(frozen=True)
class Procedure:
    """Lengths in days unless they are shares of the horizon H or the active window A."""

    # -- training snapshots
    snapshots: int = 12  # at most so many cutoffs, back from the last whose horizon has closed
    spacing: float = 1 / 3  # of H: closer ones repeat each other's outcomes
    enough_rows: int = 20_000  # no further back than it takes to have so many rows ...
    least_snapshots: int = 4  # ... but so many snapshots, to see the level move
    rows: int = 24_000  # more rows bought nothing; the largest snapshots are thinned first
    rare_share: float = 1 / 12  # ... where so many are of the rarer outcome: else more are read and all of those kept
    most_rows: int = 240_000  # ... but so many are read at the most: memory
    years_back: int = 1  # snapshots of the same season, so many years back
    season_shift: float = 1 / 6  # of H: the same season is taken a little early, in time and a little late
    rehearsal_rows: int = 20_000  # customers the back-test inside a fit is judged on ...
    most_rehearsal_rows: int = 60_000  # ... and where few return, which takes many to tell
    lapsed_rows: int = 12_000  # the same for customers who are lapsed: a plainer model
    least_history: int = 60  # a snapshot needs min(this, H/2) days of log before it
    least_customers: int = 40  # rows of training below which nothing is fitted at all
    least_events: int = 10  # churners and stayers each

    # -- churn
    linear: float = 0.4  # weight of the ridge logistic regression in the blend, where much is known
    forest: float = 0.4  # weight of LightGBM
    process: float = 0.2  # weight of Pareto/NBD, whose four parameters need few customers ...
    process_gain: float = 0.3  # ... so the fewer there are the more it gets, at the cost of the others: up to so much
    events_half: float = 600.0  # events (of the rarer outcome, overlapping horizons counted once) at which half of it
    weight_spread: float = 0.1  # prior standard deviation of a weight about the three above
    branch_spread: float = 0.15  # prior standard deviation of the one-time buyers' own offset on the logit
    ridge: float = 60.0  # prior precision of a standardised coefficient
    trees: int = 150  # with leaves 8: 300 trees of 31 leaves lost .010 to .021 of AUC
    leaves: int = 8
    learning_rate: float = 0.04
    columns: float = 0.25  # share of features a tree may look at: many say nearly the same
    leaf_share: float = 1 / 60  # least rows of a leaf, as a share of the training rows
    l2: float = 20.0  # shrinks leaves towards the snapshot's own level
    bags: int = 3  # forests grown from other seeds and averaged
    bins: int = 63  # histogram bins a feature: 255 cost time and changed no digit that counts

    # -- level
    half_life: float = 20.0  # of the snapshots' intercepts: the level of last month says more than last year's
    money_half_life: float = 90.0  # the same for money, which single large orders make noisy
    index_share: float = 0.8  # of last year's seasonal index that is believed
    index_limit: float = 1.2  # of the index on the logarithm: beyond it is a launch or a gap, not a season
    index_horizon: int = 190  # longer horizons hold most of a year: no season to correct
    year: int = 364  # whole weeks, so that weekdays meet weekdays

    # -- skill
    base_half_life: float = 180.0  # of the base rate where there is no skill: one snapshot alone is a noisy witness
    boldness: float = 0.5  # the logits are judged so much shrunk: how bold to be is learned after, from the same days
    skill_t: float = 2.0  # the gain in log loss over the base rate must be so many standard errors ...
    skill_gain: float = 0.005  # ... and so large a share of the base rate's log loss

    # -- money
    hurdle: float = 0.3  # weight of P(buys) x gamma forest (amount over the customer's own typical amount)
    tweedie: float = 0.3  # weight of the Tweedie forest
    process_money: float = 0.4  # weight of Pareto/NBD x Gamma-Gamma: best alone on few logs, worst on none
    tweedie_power: float = 1.4
    winsor: float = 0.995  # training amounts are cut there; the cut-off sum is given back to the level
    quantiles: tuple[float, ...] = (0.02, 0.05, 0.1, 0.2, 0.35, 0.5, 0.65, 0.8, 0.9, 0.95, 0.98)
    quantile_trees: int = 60
    coverage: float = 0.90
    quantile_rows: int = 24_000  # buyers that the amount models see at the most

    seed: int = 7
    threads: int = field(default=2, compare=False)  # changes no result

    @classmethod
    def of(cls, settings: Model) -> Procedure:
        """With what `[model]` says."""
        return cls(
            snapshots=settings.snapshots,
            rows=settings.rows,
            enough_rows=min(cls.enough_rows, settings.rows) if settings.rows <= cls.rows else settings.rows,
            years_back=settings.years_back,
            trees=settings.trees,
            leaves=settings.leaves,
            learning_rate=settings.learning_rate,
            seed=settings.seed,
            threads=settings.threads,
        )

    def as_dict(self) -> dict[str, object]:
        """For a bundle's manifest and a run's parameters; threads left out, they change nothing."""
        return {name: value for name, value in asdict(self).items() if name != "threads"}
