"""The two programs that the benchmark takes from Debian: wrk makes the load, nginx swallows it."""

import os
import shutil
import subprocess
import sys

_PACKAGE_OF = {"wrk": "wrk", "nginx": "nginx-light"}
_INSTALL_SECONDS_MAX = 300


def require() -> None:
    """Install what is missing if that is possible here; else end the program with the command that does it."""
    missing = [program for program in _PACKAGE_OF if shutil.which(program) is None]
    if not missing:
        return
    packages = [_PACKAGE_OF[program] for program in missing]
    command = ["apt-get", "install", "-y", "-qq", "--no-install-recommends", *packages]
    advice = f"The benchmark needs {' and '.join(missing)}. On Debian or Ubuntu, as root: {' '.join(command)}"
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        sys.exit(advice)
    print(f"Installing {' and '.join(packages)}", flush=True)
    # Run level 1 keeps the package from starting a web server of its own.
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}
    for step in (["apt-get", "update", "-qq"], command):
        done = subprocess.run(
            step, env=environment, stdout=subprocess.DEVNULL, timeout=_INSTALL_SECONDS_MAX, check=False
        )
        if done.returncode:
            sys.exit(advice)
