"""Scores of segments: how much the model's answer depends on each."""
