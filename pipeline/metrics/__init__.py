"""Metric names, the recorder, and pictures as plain data."""
