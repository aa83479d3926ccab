"""Side by side against the plain library; every table lands in RESULTS.md."""
