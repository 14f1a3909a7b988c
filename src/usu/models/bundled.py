"""The networks whose trained weights are packages."""

# Input sizes by name.
SIZES = {"efficientnet-lite0": 224, "efficientnet-lite1": 240, "efficientnet-lite2": 260}
DEMO_MODEL = next(iter(SIZES))
