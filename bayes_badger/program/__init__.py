"""A NumPyro program, lifted."""
