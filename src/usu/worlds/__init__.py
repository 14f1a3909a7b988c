"""Worlds where the true attribution is known, so that upsamplers can be judged without faithfulness metrics.

Each is an image, a model, and the truth: which pixels count, or how much each of them counts.
"""

from usu.worlds.scene import Scene

__all__ = ["Scene"]
