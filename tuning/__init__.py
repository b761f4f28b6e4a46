"""Sweeps of EfficientZero over games, seeds and settings on Ray Tune, and what came of them."""
