"""Where rows come from, and what kind of X it is. Imports `support`."""
