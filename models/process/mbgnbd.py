"""MBG/NBD: as BG/NBD, but the customer may leave after the very first purchase too.

E. P. Batislam, M. Denizel and A. Filiztekin (2007), "Empirical validation and comparison of models for customer base
analysis", International Journal of Research in Marketing 24(3), 201-209; also D. Hoppe and U. Wagner (2007), where it
is the CBG/NBD. It suits logs in which most customers never return.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from models.process import betageometric as core
from models.process.bgnbd import BGNBD
from models.process.likelihood import Counts, Estimate


@dataclass(frozen=True)
class MBGNBD(BGNBD):
    """The parameters and methods of BG/NBD with one more toss of the coin of leaving."""

    EXTRA: ClassVar[int] = 1

    @classmethod
    def fit(cls, counts: Counts) -> tuple[MBGNBD, Estimate]:
        """Maximum likelihood from a fixed start; the estimate says whether it converged and gives standard errors."""
        estimate = core.fit(counts, cls.EXTRA)
        return cls(*estimate.values), estimate
