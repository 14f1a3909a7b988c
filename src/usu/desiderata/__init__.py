"""The guarantees D1 to D5 and their relatives, measured on any upsampler."""
