"""`python -m xattr_cli` is the same as `xattr-cli`."""

from .cli import main as _group

__all__ = ["main"]


def main() -> None:
    """Run the command that `sys.argv` holds."""
    _group(prog_name="xattr-cli")


if __name__ == "__main__":
    main()
