"""A file system of a test's own."""

import subprocess
from pathlib import Path


def remount(disk: Path, options: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{options}", str(disk)], check=True)
