"""The life cycle as plain functions: files in, files out, a small report back."""
