"""The mathematics: units, energies, free energies, conditionals. Imports `support`."""
