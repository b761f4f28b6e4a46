"""A run: what is to be trained, its folder, its loop, its records; trials of a sweep as well."""
