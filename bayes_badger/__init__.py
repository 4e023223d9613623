"""Bayesian meta-learning: infer what a lifetime teaches, and learn the prior over it."""
