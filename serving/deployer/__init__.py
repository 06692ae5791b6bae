"""Bring a new champion into production on KServe by way of a canary, and keep what is served to the promotion log."""
