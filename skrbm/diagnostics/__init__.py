"""How well chains mix, and how good samples are. Imports `sampling` and what is below."""
