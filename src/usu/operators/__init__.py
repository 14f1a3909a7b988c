"""The operators: arrays in, arrays out; neither models nor images are known here."""
