"""Displays of a machine. Imports `estimators` and what is below."""
