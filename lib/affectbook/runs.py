"""The command line: ``python -m affectbook.runs book``."""

from __future__ import annotations

import argparse
import sys

from affectbook.bookbuild import build
from affectbook.files import project_root


def main() -> int:
    """Run one command."""
    parser = argparse.ArgumentParser()
    parser.add_argument("command")
    parser.parse_args()
    page = build(project_root())
    print(f"The book: {page.relative_to(project_root())}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
