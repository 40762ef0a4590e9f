"""Fails when the branch coverage of a folder is below a minimum; reads the data file of the last coverage run."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any


def read_report() -> dict[str, Any]:
    """Coverage's JSON report."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "coverage.json"
        subprocess.run([sys.executable, "-m", "coverage", "json", "-q", "-o", str(path)], check=True)
        report: dict[str, Any] = json.loads(path.read_text())
    return report


def main() -> int:
    """Print one line per folder; 1 when one is below the minimum."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--branches", type=float, default=95.0, help="minimum in percent")
    parser.add_argument("folders", nargs="+")
    options = parser.parse_args()
    files = read_report()["files"]
    failed = False
    for folder in options.folders:
        summaries = [file["summary"] for path, file in files.items() if Path(path).is_relative_to(folder)]
        total = sum(summary["num_branches"] for summary in summaries)
        covered = sum(summary["covered_branches"] for summary in summaries)
        percent = 100.0 * covered / total if total else 100.0
        missed = percent < options.branches
        failed = failed or missed
        verdict = f"below {options.branches:g} %" if missed else "ok"
        print(f"{folder}: {covered} of {total} branches covered, {percent:.1f} %: {verdict}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
