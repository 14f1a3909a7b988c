"""What makes pixel maps in a benchmark: upsamplers, controls and peers, on one image at a time."""
