"""The study itself: what its chapters ask, what it claims, and how verdicts follow.

Not here: how runs are trained and stored (engine), how results are drawn (figures). Read `plans` first, then `claims`.
"""
