"""The guarantees D1 to D4 and their relatives, measured on any upsampler."""
