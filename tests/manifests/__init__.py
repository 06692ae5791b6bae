"""What the manifests of deploy/ must hold: `python -m tests.manifests [FOLDER...]` names what does not."""
