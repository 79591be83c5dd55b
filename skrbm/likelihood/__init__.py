"""log Z and what follows from it. Imports `sampling` and what is below."""
