"""Moved to `kdstudy.study.plans.levels`; this path goes with the next release."""

from kdstudy.core.moved import moved

__getattr__ = moved(__name__, "kdstudy.study.plans.levels")
