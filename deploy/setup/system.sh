#!/usr/bin/env bash
# Checks what a build (and, as `system.sh test`, the client tests) needs from the system and installs
# what is missing with apt-get, after showing the command. Does nothing when nothing is missing.
# Rust is installed by rust.sh.
set -euo pipefail

setup_dir=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=deploy/setup/env.sh
source "$setup_dir/env.sh"
purpose=${1:-build}

say() { printf 'system: %s\n' "$*"; }
# shellcheck source=deploy/setup/install.sh
source "$setup_dir/install.sh"

# --- Packages ------------------------------------------------------------------------------------
have_libclang() {
    [[ -n "${LIBCLANG_PATH:-}" ]] || ldconfig -p 2>/dev/null | grep -q 'libclang\(-[0-9]*\)\?\.so'
}
missing=()
# Packages of which one program is unpacked into the cache: installed, each would start a service.
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
    command -v prometheus-redis-exporter >/dev/null || unpacked+=(prometheus-redis-exporter)
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
say "missing: ${missing[*]} ${programs[*]} ${optional[*]}"
if ((${#missing[@]} == 0)) && ! { command -v apt-get >/dev/null && can_be_root; }; then
    say "the tests that start ${programs[*]} ${optional[*]} are skipped"
    exit 0
fi
if ! command -v apt-get >/dev/null; then
    say "this is not Debian or Ubuntu: install them with this system's package manager, then try again" >&2
    exit 1
fi
if ! can_be_root; then
    say "root is needed to install them, and sudo is not installed; as root: apt-get update && apt-get install ${missing[*]/#libclang/libclang-dev}" >&2
    exit 1
fi

# The smallest set that gives bindgen a libclang with headers: the library and its header package
# (50 MB together; libclang-dev is 290 MB). Their names carry the distribution's LLVM version.
name_packages() {
    local package llvm
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
}

# Before the package lists are there, libclang's version is not known: the command that is run is shown again then.
name_packages
commands=("$(sudo_shown)apt-get update")
if ((${#packages[@]} > 0)); then
    commands+=("$(sudo_shown)apt-get install -y --no-install-recommends ${packages[*]}")
fi
if ((${#optional[@]} > 0)); then
    commands+=("$(sudo_shown)apt-get install -y --no-install-recommends ${optional[*]}")
fi
if ((${#unpacked[@]} > 0)); then
    commands+=("apt-get download ${unpacked[*]}   # ${programs[*]} alone are unpacked from them, into $FASTNESS_CACHE")
fi
if ! agree "${commands[@]}"; then
    # Without these programs only the tests that start them are skipped.
    if ((${#missing[@]} == 0)); then exit 0; else exit 1; fi
fi
apt_update || { by_hand "${commands[@]}"; exit 1; }
name_packages
if ((${#packages[@]} > 0)); then
    apt_install "${packages[@]}" || { by_hand "${commands[@]}"; exit 1; }
fi
if ((${#optional[@]} > 0)); then
    apt_install "${optional[@]}" || say "${optional[*]} were not installed: the test of the web console is skipped"
fi
for package in "${unpacked[@]}"; do
    unpack "$package"
done
