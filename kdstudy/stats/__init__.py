"""Paired differences with intervals, effects of a factorial grid, correlations of distance matrices.

Pure functions of numbers and tables; no plots, no runs. Read `paired` first: the statistical unit is the seed.
"""

from kdstudy.core.moved import moved

__getattr__ = moved(__name__, "kdstudy.stats.paired")
