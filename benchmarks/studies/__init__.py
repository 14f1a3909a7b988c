"""Studies behind the defaults and of worlds whose truth is known."""
