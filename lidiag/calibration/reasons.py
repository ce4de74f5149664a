"""Why the intervals of some measurements cover more or less than they say, as far as it is understood."""

from __future__ import annotations

_SHARE = (
    "most of 40 queries have one of a few values. A share has at least Wilson's width, and of what moves in steps no interval covers exactly "
    "95%, so it errs to the wide side; with 200 queries it is nearer 95%."
)
_FEW = (
    "it hangs on the few of 40 queries that change or keep anything. Their number is a small count, and the interval's short side is not shortened by a "
    "skewness that so few queries estimate, so it errs to the wide side; with 200 queries it is nearer 95%."
)
_DECILE = (
    "few of 40 queries have a relevant document in a decile, so that numerator and base are small counts; what errs is nearly always the upper "
    "end, and shortening the lower one in return would cover too little."
)

WIDE = {
    "retrieval R@1": _SHARE,
    "retrieval R@10": _SHARE,
    "retrieval RR@10": _SHARE,
    "similarity-tail topk_ndcg": _SHARE,
    "length-bias length_lift": _DECILE,
    "length-sweep recall_retained": _FEW,
    "distractor-hijacking recall_retained": _FEW,
    "distractor-hijacking ndcg_retained": _FEW,
}
"""By probe and measurement, where its intervals cover more than they say: what cannot be mended without covering too little elsewhere."""
