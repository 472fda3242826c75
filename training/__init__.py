"""From history to an accepted bundle: backtest, track, compare, promote, monitor, and the simulated shop."""
