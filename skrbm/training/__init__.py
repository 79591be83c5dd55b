"""Learning. Imports `backends`, `rows`, `likelihood` and what is below; nothing of scikit-learn."""
