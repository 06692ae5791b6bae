"""Stand-ins for the cluster: each refuses what the real one refuses; README.md lists where each rule was read."""
