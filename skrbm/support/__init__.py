"""What everything stands on: randomness, tensors, files, checks. Imports nothing of skrbm."""
