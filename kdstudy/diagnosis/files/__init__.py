"""Files of somebody's logits, read into the arguments of `diagnose`: .npz, .safetensors, .parquet.

Not here: what the arrays must be like to be diagnosed (`inputs`).
Read first: `reader`, whose `READERS` has one function for each format.
"""

from kdstudy.diagnosis.files.reader import ignored, printable, read

__all__ = ["ignored", "printable", "read"]
