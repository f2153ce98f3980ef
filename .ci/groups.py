"""Print the packages of dependency groups, since older pips do not know `--group`."""

import re
import sys
from pathlib import Path

text = (Path(__file__).resolve().parents[1] / "pyproject.toml").read_text()
section = text.split("[dependency-groups]", 1)[1].split("\n[", 1)[0]
for group in sys.argv[1:]:
    listed = re.search(rf"^{re.escape(group)} = \[(.*?)\]$", section, re.DOTALL | re.MULTILINE)
    if listed is None:
        sys.exit(f"there is no group {group!r}")
    print(" ".join(re.findall(r'"([^"]+)"', listed.group(1))))
