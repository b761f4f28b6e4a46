"""The algorithm: pure functions and arrays. Never ray, never gymnasium.

Others write `reanalyze`, `num_unroll_steps`, `hidden_state`; here it is `reanalyse`,
`unroll_steps`, `latent`.
"""
