"""`python -m xattr_cli` is the same as `xattr-cli`."""

from .cli import main

main(prog_name="xattr-cli")
