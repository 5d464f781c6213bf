# Source this from bash to build or test Fastness by hand the way `make` does:
#
#     source deploy/setup/env.sh
#
# It only computes and exports; it installs and builds nothing, prints nothing, and may be
# sourced again at any time. A variable that is already set is kept.
#
#   FASTNESS_CACHE        folder outside the checkout for what is built or installed once per machine
#   CARGO_TARGET_DIR      cargo's output (default: FASTNESS_CACHE/target)
#   ROCKSDB_LIB_DIR       folder of the prebuilt librocksdb.a (see rocksdb.sh), with ROCKSDB_STATIC;
#                         unset until the archive exists: the crate then builds its own
#   LIBCLANG_PATH, BINDGEN_EXTRA_CLANG_ARGS    what bindgen needs beside a libclang without headers
#   PATH                  with the folder of rustup's cargo at its start, where PATH has none that is new enough; and that
#                         of Prometheus' programs at its end, once `system.sh test` has unpacked them
#   FASTNESS_PYTHON, FASTNESS_PYTHON_APPLICATIONS, FASTNESS_PYTHON_ARQ, FASTNESS_VALKEY_SERVER, FASTNESS_VALKEY_CLI
#                         from python.sh, once it has run

fastness_setup_dir=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
fastness_root=$(cd "$fastness_setup_dir/../.." && pwd)

export FASTNESS_CACHE="${FASTNESS_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/fastness}"
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-$FASTNESS_CACHE/target}"

# --- Rust ----------------------------------------------------------------------------------------
fastness_rust_version=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' "$fastness_root/Cargo.toml")

# Whether the rustc and the cargo in PATH are new enough.
fastness_has_rust() {
    local program found
    for program in rustc cargo; do
        found=$(cd "$fastness_root" && "$program" --version 2>/dev/null) || return 1
        found=${found#* }
        found=${found%%[ -]*}
        [[ "$(printf '%s\n%s\n' "$fastness_rust_version" "$found" | sort -V | head -n 1)" == "$fastness_rust_version" ]] \
            || return 1
    done
}

# A shell that was started before Rust was installed does not have its folder in PATH.
fastness_cargo_bin="${CARGO_HOME:-$HOME/.cargo}/bin"
if [[ -x "$fastness_cargo_bin/cargo" && "$(command -v cargo || true)" != "$fastness_cargo_bin/cargo" ]] \
    && ! fastness_has_rust; then
    export PATH="$fastness_cargo_bin:$PATH"
fi
unset fastness_cargo_bin

# --- RocksDB -------------------------------------------------------------------------------------
# One archive serves every cargo profile. The name of its folder depends on everything that
# affects it: the crate's version, the compiler, and the flags. rocksdb.sh uses these values.
fastness_rocksdb_version() {
    awk '/^name = "librocksdb-sys"$/ { getline; gsub(/"/, ""); print $3; exit }' \
        "${FASTNESS_LOCKFILE:-$fastness_root/Cargo.lock}" 2>/dev/null || true
}

fastness_cxx="${CXX:-g++}"
# The number of source files in one translation unit of the unity build. Smaller units compile better in
# parallel, larger ones share more headers. 45 gives 8 units of at most 2.2 GB of memory each, in half the time of 15.
fastness_rocksdb_per_unit=45
# The defines are those of librocksdb-sys's build.rs for Linux.
fastness_rocksdb_flags="-std=c++20 -O2 -fPIC -w -include cstdint -DNDEBUG=1 -DOS_LINUX \
-DROCKSDB_PLATFORM_POSIX -DROCKSDB_LIB_IO_POSIX -DROCKSDB_SCHED_GETCPU_PRESENT \
-DROCKSDB_AUXV_GETAUXVAL_PRESENT -DROCKSDB_FALLOCATE_PRESENT -DROCKSDB_RANGESYNC_PRESENT \
-DHAVE_ALIGNED_NEW -DHAVE_UINT128_EXTENSION"
case "$(uname -m)" in
    x86_64) fastness_rocksdb_flags+=" -msse4.2 -mpclmul" ;;
    aarch64) fastness_rocksdb_flags+=" -march=armv8-a+crc+crypto" ;;
esac

# Prints the folder of the archive; nothing if this machine cannot build it (no compiler, no lock file, not Linux).
fastness_rocksdb_dir() {
    local version compiler hash
    [[ "$(uname -s)" == Linux ]] || return 0
    version=$(fastness_rocksdb_version)
    compiler=$("$fastness_cxx" -dumpfullversion -dumpversion 2>/dev/null) || return 0
    [[ -n "$version" && -n "$compiler" ]] || return 0
    hash=$(printf '%s %s' "$fastness_rocksdb_per_unit" "$fastness_rocksdb_flags" | sha256sum | cut -c1-8)
    printf '%s/rocksdb-%s-%s-%s-%s-%s' "$FASTNESS_CACHE" "$version" \
        "$(basename "$fastness_cxx")" "$compiler" "$(uname -m)" "$hash"
}

if [[ -z "${ROCKSDB_LIB_DIR:-}" || "${ROCKSDB_LIB_DIR:-}" == "$FASTNESS_CACHE"/rocksdb-* ]]; then
    unset ROCKSDB_LIB_DIR ROCKSDB_STATIC
    fastness_dir=$(fastness_rocksdb_dir)
    if [[ -n "$fastness_dir" && -f "$fastness_dir/librocksdb.a" ]]; then
        export ROCKSDB_LIB_DIR="$fastness_dir" ROCKSDB_STATIC=1
    fi
    unset fastness_dir
fi

# --- libclang, for bindgen -----------------------------------------------------------------------
if [[ -z "${LIBCLANG_PATH:-}" ]]; then
    fastness_libclang=$(ls -d /usr/lib/llvm-*/lib/libclang.so* /usr/lib/llvm-*/lib/libclang-[0-9]*.so* \
        /usr/lib64/libclang.so* 2>/dev/null | sort -V | tail -n 1 || true)
    if [[ -n "$fastness_libclang" ]]; then
        export LIBCLANG_PATH="${fastness_libclang%/*}"
    fi
    unset fastness_libclang
fi
# A libclang that is installed without its headers does not find stdbool.h: use the one of the C compiler.
if [[ -z "${BINDGEN_EXTRA_CLANG_ARGS:-}" && -n "${LIBCLANG_PATH:-}" ]] \
    && ! compgen -G "$LIBCLANG_PATH/clang/*/include/stdbool.h" >/dev/null; then
    fastness_headers=$("$fastness_cxx" -print-file-name=include 2>/dev/null || true)
    if [[ -f "$fastness_headers/stdbool.h" ]]; then
        export BINDGEN_EXTRA_CLANG_ARGS="-I$fastness_headers"
    fi
    unset fastness_headers
fi

# --- promtool and the exporter, once `system.sh test` has unpacked them ------------------------------
if [[ -d "$FASTNESS_CACHE/prometheus" && ":$PATH:" != *":$FASTNESS_CACHE/prometheus:"* ]]; then
    export PATH="$PATH:$FASTNESS_CACHE/prometheus"
fi

# --- Python and the reference server, once python.sh has installed them ---------------------------
if [[ -f "$FASTNESS_CACHE/python.env" ]]; then
    # shellcheck disable=SC1091
    source "$FASTNESS_CACHE/python.env"
fi
