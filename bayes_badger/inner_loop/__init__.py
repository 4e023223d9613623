"""Ways to infer: one file each, found by name through `registry`."""
