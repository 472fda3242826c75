"""The purchase processes reproduce published fits and agree with brute force: integration over the mixing densities,
simulation, and finite differences."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.special import gammaln, hyp2f1, roots_genlaguerre, roots_jacobi

from features.errors import BadData
from models.process import betageometric, paretonbd
from models.process.bgnbd import BGNBD
from models.process.gammagamma import GammaGamma
from models.process.likelihood import group
from models.process.mbgnbd import MBGNBD
from models.process.paretonbd import ParetoNBD

PROCESSES = {
    "BG/NBD": BGNBD(0.9, 6.0, 0.8, 2.5),
    "MBG/NBD": MBGNBD(0.9, 6.0, 0.8, 2.5),
    "Pareto/NBD": ParetoNBD(0.9, 6.0, 0.7, 9.0),
    "Pareto/NBD, slow to leave": ParetoNBD(1.3, 14.0, 1.0, 5.0),
    "Pareto/NBD, all leave alike": ParetoNBD(0.6, 9.0, 12.0, 900.0),
}
X = np.array([0.0, 0.0, 1.0, 1.0, 3.0, 8.0, 25.0])
TX = np.array([0.0, 0.0, 0.5, 30.0, 20.0, 12.0, 38.0])
T = np.array([5.0, 39.0, 39.0, 31.0, 20.0, 39.0, 39.0])
each = pytest.mark.parametrize("process", PROCESSES.values(), ids=PROCESSES.keys())


def simulate(process: Any, customers: int, seed: int, until: float = 40.0) -> tuple[np.ndarray, ...]:
    """Customers as whole histories: purchase by purchase, so that nothing of the closed forms is used."""
    rng = np.random.default_rng(seed)
    rate = rng.gamma(process.r, 1 / process.alpha, customers)
    age = rng.uniform(until / 2, until, customers)
    if isinstance(process, ParetoNBD):
        life, leave = rng.exponential(1 / rng.gamma(process.s, 1 / process.beta, customers)), np.zeros(customers)
    else:
        life, leave = np.full(customers, np.inf), rng.beta(process.a, process.b, customers)
        life[(process.EXTRA > 0) & (rng.random(customers) < leave)] = 0.0
    x, tx, now = np.zeros(customers), np.zeros(customers), np.zeros(customers)
    going = np.ones(customers, bool)
    while going.any():
        now += rng.exponential(1 / rate)
        going &= now <= np.minimum(age, life)
        x[going] += 1
        tx[going] = now[going]
        going &= rng.random(customers) >= leave
    return x, tx, age


def integrated(process: Any, t: float) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Likelihood, P(alive), P(none in t) and E(purchases in t) by a grid over the two mixing densities."""
    z, w = roots_genlaguerre(120, process.r - 1)
    lam, w = (z / process.alpha)[:, None], (w / w.sum())[:, None]
    if isinstance(process, ParetoNBD):
        z, v = roots_genlaguerre(120, process.s - 1)
        mu = (z / process.beta)[None, :]
        count = lam / mu * -np.expm1(-mu * t)
        gone = mu / (lam + mu)

        def parts(x: float, tx: float, age: float) -> tuple[Any, Any]:
            alive = lam**x * np.exp(-(lam + mu) * age)
            return alive, lam**x * gone * (np.exp(-(lam + mu) * tx) - np.exp(-(lam + mu) * age))

        none = gone + (1 - gone) * np.exp(-(lam + mu) * t)
    else:
        z, v = roots_jacobi(120, process.b - 1, process.a - 1)
        p = ((1 + z) / 2)[None, :]
        count = -np.expm1(-lam * p * t) / p
        none = np.exp(-lam * t) + 0 * p

        def parts(x: float, tx: float, age: float) -> tuple[Any, Any]:
            n = x + process.EXTRA
            alive = lam**x * np.exp(-lam * age) * (1 - p) ** n
            return alive, lam**x * np.exp(-lam * tx) * p * (1 - p) ** max(n - 1, 0) * (n > 0)

    w = w * (v / v.sum())[None, :]
    rows = []
    for x, tx, age in zip(X, TX, T, strict=True):
        alive, left = parts(x, tx, age)
        total = (w * (alive + left)).sum()
        rows.append(
            (
                total,
                (w * alive).sum() / total,
                (w * (alive * none + left)).sum() / total,
                (w * alive * count).sum() / total,
            )
        )
    return tuple(np.array(rows).T)  # type: ignore[return-value]


@each
def test_everything_expected_equals_integration_over_the_mixing_densities(process: Any) -> None:
    likelihood, alive, none, count = integrated(process, 13.0)
    np.testing.assert_allclose(np.exp(process.log_likelihood(X, TX, T)), likelihood, rtol=2e-5)
    np.testing.assert_allclose(process.probability_alive(X, TX, T), alive, rtol=2e-5)
    np.testing.assert_allclose(process.probability_none(X, TX, T, 13.0), none, rtol=2e-5)
    np.testing.assert_allclose(process.expected_purchases(X, TX, T, 13.0), count, rtol=2e-5)


@each
def test_a_simulated_crowd_buys_as_often_as_expected(process: Any) -> None:
    """Seen from the first purchase on, over ages of any length: who never returns, and the mean number of returns."""
    customers = 40_000
    x, _, age = simulate(process, customers, 3, until=40.0)
    first = np.zeros(customers)
    mean = process.expected_purchases(first, first, first, age)
    assert abs((x - mean).mean()) < 4 * x.std() / np.sqrt(customers)
    none = process.probability_none(first, first, first, age)
    assert abs(((x == 0) - none).mean()) < 4 * 0.5 / np.sqrt(customers)


@each
def test_a_fit_finds_the_truth_within_its_own_standard_errors(process: Any) -> None:
    fitted, estimate = type(process).fit(group(*simulate(process, 12_000, 5)))
    assert estimate.converged
    truth = np.array([getattr(process, name) for name in estimate.names])
    assert (np.abs(np.array(estimate.values) - truth) < 3.5 * np.array(estimate.errors)).all()
    assert estimate.log_likelihood == pytest.approx(
        fitted.log_likelihood(*simulate(process, 12_000, 5)).sum(), rel=1e-9
    )


@pytest.mark.parametrize(
    "objective",
    [
        lambda c: betageometric._objective(c, 0),
        lambda c: betageometric._objective(c, 1),
        paretonbd._objective,
    ],
    ids=["BG/NBD", "MBG/NBD", "Pareto/NBD"],
)
@pytest.mark.parametrize("theta", [(-0.7, 0.2, -0.4, 0.9), (0.5, 1.5, 0.3, -1.0)])
def test_gradients_equal_finite_differences(objective: Callable[..., Any], theta: tuple[float, ...]) -> None:
    f, at, step = objective(group(X, TX / 10, T / 10)), np.array(theta), 1e-5
    numeric = [(f(at + e)[0] - f(at - e)[0]) / (2 * step) for e in np.eye(4) * step]
    np.testing.assert_allclose(f(at)[1], numeric, rtol=1e-6, atol=1e-6)


def test_the_integral_of_pareto_nbd_is_the_hypergeometric_difference_of_the_note() -> None:
    """Fader and Hardie (2005), equations 15 to 18, for alpha above beta."""
    m = ParetoNBD(0.9, 12.0, 0.7, 9.0)
    k = m.r + m.s + X

    def tail(t: np.ndarray) -> np.ndarray:
        return hyp2f1(k, m.s + 1, k + 1, (m.alpha - m.beta) / (m.alpha + t)) / (m.alpha + t) ** k

    bracket = 1 / ((m.alpha + T) ** (m.r + X) * (m.beta + T) ** m.s) + m.s / k * (tail(TX) - tail(T))
    front = gammaln(m.r + X) - gammaln(m.r) + m.r * np.log(m.alpha) + m.s * np.log(m.beta)
    np.testing.assert_allclose(m.log_likelihood(X, TX, T), front + np.log(bracket), rtol=1e-8)


@each
def test_the_unit_of_time_and_the_order_of_customers_do_not_matter(process: Any) -> None:
    x, tx, age = simulate(process, 3_000, 11)
    weeks, estimate = type(process).fit(group(x, tx, age))
    order = np.random.default_rng(0).permutation(len(x))
    assert type(process).fit(group(x[order], tx[order], age[order]))[1].as_dict() == estimate.as_dict()
    days, _ = type(process).fit(group(x, tx * 7, age * 7))
    assert days.alpha == pytest.approx(7 * weeks.alpha, rel=1e-4)
    np.testing.assert_allclose(
        days.expected_purchases(X, TX * 7, T * 7, 91), weeks.expected_purchases(X, TX, T, 13), rtol=1e-4
    )


@each
def test_longer_silence_is_likelier_and_more_time_brings_more_purchases(process: Any) -> None:
    spans = np.arange(0.0, 60.0, 3.0)
    none = np.array([process.probability_none(X, TX, T, t) for t in spans])
    count = np.array([process.expected_purchases(X, TX, T, t) for t in spans])
    assert none[0] == pytest.approx(1.0)
    assert count[0] == pytest.approx(0.0)
    assert (np.diff(none, axis=0) < 0).all()
    assert (np.diff(count, axis=0) > 0).all()
    assert ((none > 0) & (none <= 1) & (1 - none <= count + 1e-12)).all()


@pytest.mark.parametrize(
    ("x", "tx", "age"),
    [([], [], []), ([1.0], [0.0], [3.0]), ([0.0], [1.0], [3.0]), ([1.0], [4.0], [3.0]), ([np.nan], [0.0], [3.0])],
    ids=["nobody", "a repeat at age 0", "an age without a repeat", "a repeat after the cutoff", "unknown"],
)
def test_impossible_histories_are_refused(x: list[float], tx: list[float], age: list[float]) -> None:
    with pytest.raises(BadData):
        group(x, tx, age)


def test_a_crowd_that_never_leaves_is_reported_as_not_converged_and_still_forecast() -> None:
    rng = np.random.default_rng(2)
    x = rng.poisson(10, 300).astype(float)
    process, estimate = BGNBD.fit(group(x, np.where(x > 0, 39.9, 0.0), np.full(300, 40.0)))
    assert not estimate.converged
    assert process.expected_purchases(10, 39.9, 40, 4.0)[0] == pytest.approx(1.0, rel=0.2)


# --- published figures ---


@pytest.fixture(scope="module")
def sample(real_log: Callable[[str], Path]) -> tuple[pd.DataFrame, np.ndarray, np.ndarray, np.ndarray]:
    """The 2,357 customers of the published 1/10 sample over 39 weeks (to 30 September 1997), one purchase a day."""
    folder, end = real_log("cdnow"), pd.Timestamp("1997-09-30")
    chosen = pd.read_parquet(folder / "customers.parquet").query("in_tenth_sample").customer_id
    log = pd.read_parquet(folder / "transactions.parquet")
    log = log[log.customer_id.isin(chosen)].assign(day=lambda d: pd.to_datetime(d.ordered_at).dt.floor("D"))
    days = log[log.day <= end].groupby(["customer_id", "day"], as_index=False).amount.sum()
    g = days.groupby("customer_id").day.agg(["min", "max", "size"])
    weeks = [
        (later - earlier).dt.days.to_numpy() / 7
        for later, earlier in ((g["max"], g["min"]), (end - 0 * (g["max"] - g["min"]), g["min"]))
    ]
    return days, (g["size"] - 1).to_numpy(float), weeks[0], weeks[1]


def test_bgnbd_reproduces_the_published_fit_of_cdnow(sample: tuple[Any, ...]) -> None:
    """Fader, Hardie and Lee (2005), table 2: r .243, alpha 4.414, a .793, b 2.426, log-likelihood -9582.4."""
    _, estimate = BGNBD.fit(group(*sample[1:]))
    assert estimate.customers == 2357
    np.testing.assert_allclose(estimate.values, (0.243, 4.414, 0.793, 2.426), atol=5e-4)
    assert estimate.log_likelihood == pytest.approx(-9582.4, abs=0.05)


def test_pareto_nbd_reproduces_the_published_fit_of_cdnow(sample: tuple[Any, ...]) -> None:
    """The same table: r .553, alpha 10.578, s .606, beta 11.669, log-likelihood -9595.0."""
    _, estimate = ParetoNBD.fit(group(*sample[1:]))
    np.testing.assert_allclose(estimate.values, (0.553, 10.578, 0.606, 11.669), atol=5e-4)
    assert estimate.log_likelihood == pytest.approx(-9595.0, abs=0.05)


def test_gamma_gamma_reproduces_the_published_fit_of_cdnow(sample: tuple[Any, ...]) -> None:
    """Fader and Hardie (2013), on the 946 customers with a repeat purchase: p 6.25, q 3.74, gamma 15.44."""
    days = sample[0]
    repeat = days[days.day > days.groupby("customer_id").day.transform("min")]
    own = repeat.groupby("customer_id").amount.agg(["size", "mean"]).query("mean > 0")
    model, estimate = GammaGamma.fit(own["size"], own["mean"])
    assert estimate.customers == 946
    np.testing.assert_allclose(estimate.values, (6.25, 3.74, 15.44), atol=6e-3)
    assert model.expected_amount(1.0, 20.0)[0] == pytest.approx(6.25 * (15.44 + 20) / (6.25 + 3.74 - 1), rel=1e-3)


# --- Gamma-Gamma ---


def test_gamma_gamma_finds_the_truth_and_its_expectation_is_the_posterior_mean() -> None:
    rng, truth = np.random.default_rng(4), GammaGamma(5.0, 4.0, 18.0)
    x = rng.integers(1, 9, 20_000).astype(float)
    rate = rng.gamma(truth.q, 1 / truth.gamma, len(x))
    z = rng.gamma(truth.p * x, 1 / (rate * x))
    model, estimate = GammaGamma.fit(x, z)
    assert estimate.converged
    assert (np.abs(np.array(estimate.values) - (5.0, 4.0, 18.0)) < 3.5 * np.array(estimate.errors)).all()
    near = (x == 3) & (np.abs(z - 30) < 2)
    assert model.expected_amount(3.0, 30.0)[0] == pytest.approx((truth.p / rate[near]).mean(), rel=0.05)
    assert estimate.log_likelihood == pytest.approx(model.log_likelihood(x, z).sum(), rel=1e-9)


def test_a_customer_without_repeat_gets_the_population_mean() -> None:
    model = GammaGamma(5.0, 4.0, 18.0)
    assert model.expected_amount([0.0, 0.0], [np.nan, 0.0]) == pytest.approx(5.0 * 18.0 / 3.0)
    assert np.isfinite(GammaGamma(5.0, 0.8, 18.0).expected_amount(0.0, np.nan)).all()


def test_amounts_that_cannot_be_are_refused() -> None:
    for x, z in (([], []), ([1.0], [0.0]), ([0.0], [3.0]), ([1.0], [np.nan])):
        with pytest.raises(BadData):
            GammaGamma.fit(x, z)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("seed", range(4))
def test_no_small_shop_brings_a_warning_or_a_number_that_is_none(seed: int) -> None:
    """One customer or fifty, all new or all of one age, none with a repeat purchase or all with thousands."""
    rng = np.random.default_rng(seed)
    n, oldest, often = (
        int(rng.choice([1, 3, 20, 50])),
        int(rng.choice([1, 30, 3_000])),
        float(rng.choice([0, 0.3, 300])),
    )
    T = np.full(n, float(oldest)) if seed % 2 else rng.integers(0, oldest, n).astype(float)
    x = np.minimum(rng.poisson(often, n).astype(float), T)
    tx = np.where(x > 0, np.maximum(np.ceil(T * rng.random(n) ** 0.2), 1.0), 0.0)
    for kind in (ParetoNBD, BGNBD, MBGNBD):
        fitted, _ = kind.fit(group(x, tx, T))
        for days in (0.0, 1.0, 91.0, 10_000.0):
            none = fitted.probability_none(x, tx, T, days)
            assert ((none >= 0) & (none <= 1)).all()
            assert np.isfinite(fitted.expected_purchases(x, tx, T, days)).all()
