"""Data sets as tensors: made or read, checked by digest, split the same way every time, transformed.

What is taught about them is in `distill`. Read first: `dataset`, then `registry`.
"""
