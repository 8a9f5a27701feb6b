"""Figures that several chapters draw: comparisons, teachers, levels, class geometry, the search."""
