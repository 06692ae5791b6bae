"""One script per claim, run as `python -m benchmarks.NAME`."""
