"""Markov chains. Imports `backends`, `machines` and `support`."""
