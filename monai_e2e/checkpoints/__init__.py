"""Checkpoints as plain tensors: written whole, read without running what they may carry."""
