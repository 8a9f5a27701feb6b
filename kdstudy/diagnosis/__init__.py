"""What somebody's teacher can tell, and what is wrong with its logits: `diagnose` trains nothing.

Not here: its figures and its page (figures), its command (cli), the fit of its limits (study.calibration).
Read first: `api`, then `statistics.all`, then `rules`.
"""

from importlib import import_module

PLACES = {"Diagnosis": "api", "diagnose": "api", "diagnose_file": "api", "Finding": "api", "Unusable": "inputs"}
__all__ = list(PLACES)


def __getattr__(name: str) -> object:
    if name not in PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{PLACES[name]}"), name)
