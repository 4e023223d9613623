"""Information between samples alone, where no program says how they came about."""
