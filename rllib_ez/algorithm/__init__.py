"""The RLlib adapter: config, module, learner, env runner, pipeline. No maths."""
