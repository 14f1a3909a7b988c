"""What masked images can go through, by name; `usu.models.compiled` makes the copies."""

BACKENDS = ("auto", "eager", "openvino", "compile")
