"""The action service: trained agents behind HTTP, answered in batches by one search.

A request comes in through `app` (routes), is read by `bodies` into a `Query`, waits in `batcher`,
is answered by `models`, and goes out by `replies`. `board` says which checkpoint each model shall
have; `deployment` puts it all on Ray Serve. `client` needs none of it.
"""
