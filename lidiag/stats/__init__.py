"""Statistics: seeded, vectorised, no torch. The unit is the query, or a cluster of queries that share a fact."""

from lidiag.stats.intervals import Estimate, clopper_pearson, mean_interval, ratio_interval

__all__ = ["Estimate", "clopper_pearson", "mean_interval", "ratio_interval"]
