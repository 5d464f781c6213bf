#!/usr/bin/env bash
# Checks what a build (and, as `system.sh test`, the client tests) needs from the system and installs
# what is missing with apt-get, after showing the command. Does nothing when nothing is missing.
# Does not install Rust, but prints how to get it.
set -euo pipefail

setup_dir=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=deploy/setup/env.sh
source "$setup_dir/env.sh"
purpose=${1:-build}

say() { printf 'system: %s\n' "$*"; }

# --- Rust ----------------------------------------------------------------------------------------
wanted=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' "$fastness_root/Cargo.toml")
found=$(rustc --version 2>/dev/null | cut -d' ' -f2 || true)
if [[ -z "$found" ]]; then
    say "Rust $wanted or newer is needed but not installed; get it with: curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh" >&2
    exit 1
fi
if [[ "$(printf '%s\n%s\n' "$wanted" "${found%%-*}" | sort -V | head -n 1)" != "$wanted" ]]; then
    if command -v rustup >/dev/null; then get="rustup update stable"; else
        get="curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh"; fi
    say "Rust $wanted or newer is needed, but $found is installed; get it with: $get" >&2
    exit 1
fi

# --- Packages ------------------------------------------------------------------------------------
have_libclang() {
    [[ -n "${LIBCLANG_PATH:-}" ]] || ldconfig -p 2>/dev/null | grep -q 'libclang\(-[0-9]*\)\?\.so'
}
missing=()
# Packages of which one program is unpacked into the cache: installed, prometheus would start a server.
unpacked=()
# Packages that only single tests need, which are skipped without them: a failure is no reason to stop.
optional=()
command -v "${CC:-cc}" >/dev/null || missing+=(gcc libc6-dev)
command -v "$fastness_cxx" >/dev/null || missing+=(g++)
command -v make >/dev/null || missing+=(make)
have_libclang || missing+=(libclang)
if [[ "$purpose" == test ]]; then
    python3 -c 'import ensurepip, venv' 2>/dev/null || missing+=(python3 python3-venv)
    command -v git >/dev/null || missing+=(git)
    command -v promtool >/dev/null || unpacked+=(prometheus)
    # Ubuntu's package is a stub that installs a snap, which needs a running snapd.
    command -v chromium >/dev/null || grep -q '^ID=ubuntu' /etc/os-release 2>/dev/null || optional+=(chromium fonts-dejavu-core)
    # Only root can cut networks, lose power and set clocks: for other users such tests are skipped, with a line.
    if [[ "$(id -u)" == 0 ]]; then
        command -v iptables >/dev/null || missing+=(iptables)
        command -v ip >/dev/null || missing+=(iproute2)
        command -v mkfs.ext4 >/dev/null || missing+=(e2fsprogs)
        command -v xfs_io >/dev/null || missing+=(xfsprogs)
        compgen -G '/usr/lib*/faketime/libfaketimeMT.so.1' >/dev/null \
            || compgen -G '/usr/lib/*/faketime/libfaketimeMT.so.1' >/dev/null || missing+=(libfaketime)
    fi
fi
if ((${#missing[@]} + ${#unpacked[@]} + ${#optional[@]} == 0)); then
    exit 0
fi

run() {
    say "running: $*"
    "$@"
}
# Without promtool only the test of the alert rules is skipped, so a failure is no reason to stop.
unpack_promtool() {
    local folder
    folder=$(mktemp -d) && mkdir -p "$FASTNESS_CACHE/prometheus" || return 1
    (
        cd "$folder" && run apt-get download -q prometheus \
            && dpkg-deb --fsys-tarfile prometheus_*.deb \
            | tar -x -C "$FASTNESS_CACHE/prometheus" --strip-components=3 ./usr/bin/promtool
    ) || say "promtool was not unpacked: the test of the alert rules is skipped"
    rm -r "$folder"
}

say "missing: ${missing[*]} ${unpacked[*]/#prometheus/promtool} ${optional[*]}"
if ((${#missing[@]} == 0)) && ! { command -v apt-get && [[ "$(id -u)" == 0 || -n "$(command -v sudo)" ]]; } >/dev/null; then
    say "the tests that need them are skipped"
    exit 0
fi
if ! command -v apt-get >/dev/null; then
    say "this is not Debian or Ubuntu: install them with this system's package manager, then try again" >&2
    exit 1
fi

as_root=()
if [[ "$(id -u)" != 0 ]]; then
    if ! command -v sudo >/dev/null; then
        say "root is needed to install them, and sudo is not installed; as root: apt-get update && apt-get install ${missing[*]/#libclang/libclang-dev}" >&2
        exit 1
    fi
    as_root=(sudo)
fi
if [[ -t 0 ]]; then
    read -r -p "system: install with '${as_root[*]:+sudo }apt-get'? [Y/n] " answer
    [[ "${answer:-y}" =~ ^[Yy] ]] || { say "not installed" >&2; exit 1; }
fi
run "${as_root[@]}" apt-get update -q

# The smallest set that gives bindgen a libclang with headers: the library and its header package
# (50 MB together; libclang-dev is 290 MB). Their names carry the distribution's LLVM version.
packages=()
for package in "${missing[@]}"; do
    if [[ "$package" == libclang ]]; then
        llvm=$(apt-cache depends libclang1 2>/dev/null | grep -oE 'libclang1-[0-9]+' | head -n 1 | cut -d- -f2 || true)
        if [[ -n "$llvm" ]]; then
            packages+=("libclang1-$llvm" "libclang-common-$llvm-dev")
        else
            packages+=(libclang-dev)
        fi
    else
        packages+=("$package")
    fi
done
if ((${#packages[@]} > 0)); then
    run "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "${packages[@]}"
fi
if ((${#optional[@]} > 0)); then
    run "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "${optional[@]}" \
        || say "${optional[*]} were not installed: the test of the web console is skipped"
fi
if ((${#unpacked[@]} > 0)); then
    unpack_promtool
fi
