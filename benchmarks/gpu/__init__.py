"""Measurements on a GPU; `run.sh` makes them all."""
