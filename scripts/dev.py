"""Make .venv: the locked packages, then the project itself, editable.

Runs on a bare Python 3.11 to 3.13, so it needs the standard library only. A stamp in .venv remembers
what it was made from; while that has not changed, there is nothing to do.
"""

import hashlib
import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
STAMP = VENV / "made-from"
LOCK = ROOT / "requirements" / "dev.txt"


def main() -> int:
    """Bring .venv up to date; 0 if it is."""
    wanted = fingerprint()
    if STAMP.is_file() and STAMP.read_text(encoding="utf-8") == wanted:
        return 0
    made_by = made_by_version()
    if made_by is not None and made_by != sys.version.split()[0]:
        print(f".venv was made by Python {made_by}, this is {sys.version.split()[0]}: making it anew")
    if made_by != sys.version.split()[0]:
        venv.create(VENV, clear=VENV.exists(), with_pip=True, symlinks=True)
    print(f"Installing the locked packages into {VENV.name} with Python {sys.version.split()[0]}")
    pip("install", "--require-hashes", "--only-binary", ":all:", "-r", str(LOCK))
    pip("install", "--no-deps", "--no-build-isolation", "--editable", str(ROOT))
    STAMP.write_text(wanted, encoding="utf-8")
    return 0


def fingerprint() -> str:
    """Changes whenever .venv has to be made anew."""
    digest = hashlib.sha256(f"{sys.version} {ROOT}".encode())
    for path in (LOCK, ROOT / "pyproject.toml", Path(__file__)):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def made_by_version() -> str | None:
    """The version of the Python in .venv, or None if there is none that runs."""
    python = VENV / "bin" / "python"
    if not python.exists():
        return None
    shown = subprocess.run(
        [python, "-c", "import sys; print(sys.version.split()[0])"], capture_output=True, check=False
    )
    return shown.stdout.decode().strip() or None


def pip(*arguments: str) -> None:
    """Run pip of .venv; ends the script with pip's own message if it fails."""
    command: list[str | Path] = [
        VENV / "bin" / "python",
        "-m",
        "pip",
        "--quiet",
        "--disable-pip-version-check",
        *arguments,
    ]
    if subprocess.run(command, check=False).returncode:
        sys.exit(f"pip {arguments[0]} failed; what it says above tells why.")


if __name__ == "__main__":
    sys.exit(main())
