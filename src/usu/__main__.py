"""`python -m usu`, the same as the command `usu`."""

from usu.cli import program

if __name__ == "__main__":
    program()
