"""Judges of pixel maps: faithfulness to a model, localisation and errors against a truth, statistics."""
