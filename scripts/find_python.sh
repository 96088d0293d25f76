#!/bin/sh
# Prints the path of a Python that the project runs on, able to make virtual environments.
# PYTHON=/path/to/python chooses one. On Debian, as root, the missing package is installed.
set -eu

fits() { "$1" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' >/dev/null 2>&1; }
has_venv() { "$1" -c 'import ensurepip, venv' >/dev/null 2>&1; }

find_python() {
    for name in ${PYTHON:-python3 python3.13 python3.12 python3.11}; do
        if command -v "$name" >/dev/null 2>&1 && fits "$name"; then
            command -v "$name"
            return 0
        fi
    done
    return 1
}

install() {
    [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1 || return 1
    echo "Installing $* (Debian packages)" >&2
    apt-get update -qq >&2 && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq "$@" >&2
}

if ! python="$(find_python)"; then
    if [ -n "${PYTHON:-}" ]; then
        echo "PYTHON=$PYTHON is no Python 3.11, 3.12 or 3.13." >&2
        exit 1
    fi
    install python3 python3-venv || true
    if ! python="$(find_python)"; then
        echo "No Python 3.11, 3.12 or 3.13 was found. Install one, or say PYTHON=/path/to/python." >&2
        exit 1
    fi
fi

if ! has_venv "$python"; then
    version="$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')"
    install "python$version-venv" || true
    if ! has_venv "$python"; then
        echo "$python cannot make virtual environments. On Debian or Ubuntu: apt-get install python$version-venv" >&2
        exit 1
    fi
fi

echo "$python"
