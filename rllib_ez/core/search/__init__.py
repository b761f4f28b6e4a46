"""Monte-Carlo tree search over a learned model, batched over roots."""

from rllib_ez.core.search.search import sample_actions, search

__all__ = ["sample_actions", "search"]
