"""Checks the news fragments: every name has a known kind, and a branch that changes trabbits/ adds one."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BASE = "origin/main"


def git(*args: str) -> str:
    """What git prints, empty when it fails (no such branch, not a checkout)."""
    done = subprocess.run(["git", *args], cwd=ROOT, text=True, capture_output=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else ""


def bad_names(kinds: set[str]) -> list[str]:
    """Files of newsfragments/ that towncrier would pass over or misunderstand."""
    bad = []
    for path in sorted((ROOT / "newsfragments").iterdir()):
        parts = path.name.split(".")
        known = len(parts) >= 3 and parts[1] in kinds and parts[-1] == "md"
        if path.name not in ("README.md", ".gitignore") and not known:
            bad.append(path.name)
    return bad


def main() -> int:
    """Print the draft of the next release's notes; 1 when a fragment is wrong or missing."""
    towncrier = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["towncrier"]
    kinds = {kind["directory"] for kind in towncrier["type"]}
    bad = bad_names(kinds)
    if bad:
        print(
            f"newsfragments/: {', '.join(bad)}: not <number or +word>.<{'|'.join(sorted(kinds))}>.md", file=sys.stderr
        )
        return 1
    subprocess.run([sys.executable, "-m", "towncrier", "build", "--draft", "--version", "next"], cwd=ROOT, check=True)
    base = git("merge-base", "HEAD", BASE)
    if base and base != git("rev-parse", "HEAD"):
        changed = git("diff", "--name-only", base, "HEAD").splitlines()
        code = any(name.startswith("trabbits/") for name in changed)
        news = any(name.startswith("newsfragments/") or name == "CHANGELOG.md" for name in changed)
        if code and not news:
            print(
                f"trabbits/ changed since {BASE}, but no news fragment was added (see CONTRIBUTING.md)", file=sys.stderr
            )
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
