"""Search the penalties of eq. 22 for shapes: `python -m usu.worlds` prints one line per network."""

from usu.runtime.memory import keep_freed_memory
from usu.worlds.networks import NETWORKS
from usu.worlds.penalties import PENALTIES, find_penalty


def main() -> None:
    """Print the λ found for each network beside the recorded one."""
    keep_freed_memory()
    for name in NETWORKS:
        found = find_penalty(name, show_progress=True)
        quality = found.validation
        print(
            f"{name}: λ = {found.settings.penalty:g} (recorded {PENALTIES[name]:g}), on validation scenes "
            f"accuracy {quality.accuracy:.3f}, gradient inside the foreground {quality.inside:.3f}"
        )


if __name__ == "__main__":
    main()
