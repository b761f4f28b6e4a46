"""Measurements that anyone can repeat; results as JSON under results/."""
