"""NormDEL."""
