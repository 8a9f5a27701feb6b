"""How fast the study trains, as ratios: `python -m benchmarks --help`."""
