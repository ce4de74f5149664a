"""Statistics: vectorised, seeded where drawn, no torch. The unit is the query, or a cluster of queries that share a fact."""

from lidiag.stats.differences import Difference, benjamini_hochberg, minimum_detectable_effect, paired_difference, sign_flip_p
from lidiag.stats.inequality import gini, gini_paper, n_eff
from lidiag.stats.intervals import Estimate, clopper_pearson, crossed_interval, mean_interval, ratio_interval
from lidiag.stats.ranks import auc, average_ranks, slope_per_doubling, spearman
from lidiag.stats.verdict import Verdict, verdict

__all__ = [
    "Difference",
    "Estimate",
    "Verdict",
    "auc",
    "average_ranks",
    "benjamini_hochberg",
    "clopper_pearson",
    "crossed_interval",
    "gini",
    "gini_paper",
    "mean_interval",
    "minimum_detectable_effect",
    "n_eff",
    "paired_difference",
    "ratio_interval",
    "sign_flip_p",
    "slope_per_doubling",
    "spearman",
    "verdict",
]
