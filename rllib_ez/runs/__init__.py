"""A run: what is to be trained, its folder, its loop, its records; for `ez train` and for trials."""
