"""Layers, losses, optimizers and the engine that paints: PyTorch and nothing else."""
