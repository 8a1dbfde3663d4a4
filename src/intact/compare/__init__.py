"""Baseline x observation -> differences -> verdict. Pure."""
