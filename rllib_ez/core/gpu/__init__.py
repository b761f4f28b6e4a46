"""Search on a CUDA device; imports numba.cuda, so it is imported by those who want it only."""
