"""Run the commands that README.md shows, and put what they print below them.

Every ```console block is one command after a dollar sign, and its output. `make test` is shown by its
last line only. Tables of benchmarks are taken from scripts/results, as they were rendered there.

Example: python scripts/fill_readme.py
"""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
BLOCK = re.compile(r"```console\n\$ (?P<command>[^\n]+)\n.*?```", re.DOTALL)


def main(only: list[str]) -> None:
    readme = ROOT / "README.md"
    text = readme.read_text(encoding="utf-8")
    text = BLOCK.sub(lambda match: block(match, only), text)
    readme.write_text(text, encoding="utf-8")


def block(match: re.Match[str], only: list[str]) -> str:
    command = match["command"]
    if only and not any(word in command for word in only):
        return match[0]
    line = f"PATH={ROOT}/.venv/bin:$PATH {command}"
    done = subprocess.run(
        line, shell=True, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    printed = [each.rstrip() for each in done.stdout.strip().splitlines()]
    if command == "make test":
        printed = printed[-1:]
    output = "\n".join(printed)
    return f"```console\n$ {command}\n{output}\n```"


if __name__ == "__main__":
    main(sys.argv[1:])
