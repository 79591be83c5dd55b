"""The scikit-learn face. Imports all wings below."""
