"""The registry, MLflow: its client, versions, promotion and lineage."""
