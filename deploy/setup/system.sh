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
# Packages of which one program is unpacked into the cache: installed, each would start a service.
unpacked=()
command -v "${CC:-cc}" >/dev/null || missing+=(gcc libc6-dev)
command -v "$fastness_cxx" >/dev/null || missing+=(g++)
command -v make >/dev/null || missing+=(make)
have_libclang || missing+=(libclang)
if [[ "$purpose" == test ]]; then
    python3 -c 'import ensurepip, venv' 2>/dev/null || missing+=(python3 python3-venv)
    command -v git >/dev/null || missing+=(git)
    command -v promtool >/dev/null || unpacked+=(prometheus)
    command -v prometheus-redis-exporter >/dev/null || unpacked+=(prometheus-redis-exporter)
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
if ((${#missing[@]} + ${#unpacked[@]} == 0)); then
    exit 0
fi

run() {
    say "running: $*"
    "$@"
}
# The program that is unpacked from a package.
program_of() {
    case "$1" in
        prometheus) echo promtool ;;
        *) echo "$1" ;;
    esac
}
# Without such a program only the test that starts it is skipped, so a failure is no reason to stop.
unpack() {
    local package=$1 program folder
    program=$(program_of "$package")
    folder=$(mktemp -d) && mkdir -p "$FASTNESS_CACHE/prometheus" || return 1
    (
        cd "$folder" && run apt-get download -q "$package" \
            && dpkg-deb --fsys-tarfile "$package"_*.deb \
            | tar -x -C "$FASTNESS_CACHE/prometheus" --strip-components=3 "./usr/bin/$program"
    ) || say "$program was not unpacked: the test that starts it is skipped"
    rm -r "$folder"
}

programs=()
for package in "${unpacked[@]}"; do programs+=("$(program_of "$package")"); done
say "missing: ${missing[*]} ${programs[*]}"
if ((${#missing[@]} == 0)) && ! { command -v apt-get && [[ "$(id -u)" == 0 || -n "$(command -v sudo)" ]]; } >/dev/null; then
    say "the tests that start ${programs[*]} are skipped"
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
for package in "${unpacked[@]}"; do
    unpack "$package"
done
