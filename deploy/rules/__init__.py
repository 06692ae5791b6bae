"""What the manifests of deploy/ must hold: `python -m deploy.rules [FOLDER...]` names what does not."""
