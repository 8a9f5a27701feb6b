"""Figures that several chapters draw: comparisons, teachers, levels, class geometry, single classes, the search."""
