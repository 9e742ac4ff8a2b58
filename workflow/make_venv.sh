#!/usr/bin/env bash
# Make or complete a virtual environment: make_venv.sh PYTHON VENV REQUIREMENTS
# Every thing that can be missing on a fresh machine is one line and a non-zero exit.
set -uo pipefail
python=$1 venv=$2 requirements=$3

stop() {
    echo "error: $*" >&2
    exit 1
}

command -v "$python" >/dev/null ||
    stop "there is no '$python' here: install Python 3.11 or newer, or name one with 'make PYTHON=/path/to/python3.11'"
version=$("$python" -c 'import sys; print("%d.%d.%d" % sys.version_info[:3])' 2>/dev/null) ||
    stop "'$python' does not run: name a working one with 'make PYTHON=/path/to/python3.11'"
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
    stop "'$python' is Python $version, 3.11 or newer is needed: name one with 'make PYTHON=/path/to/python3.11'"
"$python" -c 'import ensurepip, venv' 2>/dev/null ||
    stop "Python $version has no venv module: install it (on Debian and Ubuntu: apt-get install python3-venv)"

if ! "$venv/bin/python" -m pip --version >/dev/null 2>&1; then
    echo "Making the virtual environment $venv with Python $version ..."
    "$python" -m venv --clear "$venv" || stop "could not make $venv; the lines above say why"
fi

log=$venv/install.log
count=$(grep -c == "$requirements")
echo "Installing the locked packages of $requirements into $venv (one to three minutes; $count packages, log: $log) ..."
if ! "$venv/bin/python" -m pip install --disable-pip-version-check --retries 2 --progress-bar off -r "$requirements" >"$log" 2>&1; then
    if grep -qE 'Failed to establish a new connection|Name or service not known|name resolution|Network is unreachable|Connection refused|NewConnectionError|ProxyError|Read timed out' "$log"; then
        stop "no network: pip could not reach its package index (log: $log); connect, or set PIP_INDEX_URL to a mirror, and run make again"
    fi
    stop "pip could not install $requirements: $(grep -m1 '^ERROR' "$log" || tail -1 "$log") (log: $log)"
fi
echo "Installed."
