"""The networks whose trained weights are packages, and how others are told by their names."""

# Input sizes by name.
SIZES = {"efficientnet-lite0": 224, "efficientnet-lite1": 240, "efficientnet-lite2": 260}
DEMO_MODEL = next(iter(SIZES))
# Of network cards, see `usu.models.card`.
CARD = ".json"
TIMM = "timm:"
