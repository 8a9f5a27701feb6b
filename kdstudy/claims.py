"""Moved to `kdstudy.study.claims`; this path goes with the next release."""

from kdstudy.core.moved import moved

__getattr__ = moved(__name__, "kdstudy.study.claims")
