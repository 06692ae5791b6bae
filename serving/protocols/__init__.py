"""Wire formats: each module turns one protocol's requests into groups and scores into its replies."""
