"""Moved to `kdstudy.distill.conditions`; this path goes with the next release."""

from kdstudy.core.moved import moved

__getattr__ = moved(__name__, "kdstudy.distill.conditions")
