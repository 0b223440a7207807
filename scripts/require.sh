#!/usr/bin/env bash
# usage: require.sh python|java|compiler
# Checks that this machine has one prerequisite; if not, says how to get it and exits with 1.
# `python` prints the interpreter to use: $PYTHON if set, else the first suitable one on PATH.
set -euo pipefail

say() { printf '%s\n' "$@" >&2; }

require_python() {
    local candidate version
    for candidate in ${PYTHON:-python3 python3.13 python3.12 python3.11}; do
        version=$("$candidate" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null) || continue
        if "$candidate" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            printf '%s\n' "$candidate"
            return
        fi
        say "$candidate is Python $version, or lacks the venv module."
    done
    say "CrowdFM needs Python 3.11 or newer with venv; none was found. To get it:" \
        "  Debian, Ubuntu   sudo apt-get install python3 python3-venv" \
        "  Fedora           sudo dnf install python3" \
        "  macOS            brew install python" \
        "or name an interpreter: make PYTHON=/path/to/python3.12 ..."
    exit 1
}

require_java() {
    local java=java version="" major=0
    if [ -n "${JAVA_HOME:-}" ]; then java="$JAVA_HOME/bin/java"; fi
    version=$("$java" -version 2>&1 | sed -n 's/.*version "\([0-9][0-9]*\).*/\1/p' | head -n 1) || true
    major=${version:-0}
    if [ "$major" -ge 17 ]; then return; fi
    if [ "$major" -gt 0 ]; then
        say "$java is Java $major."
    else
        say "No Java was found${JAVA_HOME:+ (JAVA_HOME is $JAVA_HOME)}."
    fi
    say "Spark needs Java 17 or newer. To get it:" \
        "  Debian, Ubuntu   sudo apt-get install openjdk-17-jre-headless" \
        "  Fedora           sudo dnf install java-21-openjdk-headless" \
        "  macOS            brew install openjdk@17" \
        "and set JAVA_HOME if it is not the java on PATH."
    exit 1
}

require_compiler() {
    local compiler=${CXX:-c++} python header
    python=$(require_python)
    header=$("$python" -c 'import sysconfig; print(sysconfig.get_path("include") + "/Python.h")')
    if { command -v "${compiler%% *}" || command -v g++; } >/dev/null && [ -f "$header" ]; then return; fi
    say "torch-scatter is compiled on this machine, which needs a C++ compiler ($compiler or g++)" \
        "and the headers of Python ($header). To get both:" \
        "  Debian, Ubuntu   sudo apt-get install g++ python3-dev" \
        "  Fedora           sudo dnf install gcc-c++ python3-devel" \
        "  macOS            xcode-select --install"
    exit 1
}

case "${1:-}" in
    python | java | compiler) "require_$1" ;;
    *) say "usage: require.sh python|java|compiler" && exit 2 ;;
esac
