"""The scoring server: one sealed bundle behind HTTP, without torch or transformers."""
