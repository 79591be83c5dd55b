"""The products, the draws and the update, fast. Imports `machines` and `support`."""
