"""Comparisons with the plain library; every table is written to RESULTS.md."""
