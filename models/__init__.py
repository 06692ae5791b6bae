"""The reward model: backbone, pooling, head, losses, batches and checkpoints."""
