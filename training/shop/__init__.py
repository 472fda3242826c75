"""The simulated shop, part by part; `training.simulate` is its front."""
