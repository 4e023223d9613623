"""What is measured, and how to repeat it: `uv run python -m benchmarks NAME`."""
