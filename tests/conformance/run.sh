#!/usr/bin/env bash
# Runs Valkey's own test suite against one shard of a Fastness cluster, which is started for it and removed at the end.
# `make conformance` calls this; README.md beside it says what is counted.
#
#   VALKEY_SRC        a checkout of Valkey 8.0.1, built in place (`make MALLOC=libc`)
#   FASTNESS_BIN      the binary (default: the release binary)
#   UNIT              the units to run: "unit/type/list unit/expire" (default: all of baseline.tsv)
#   OUT               the folder of logs and lists (default: FASTNESS_CACHE/conformance)
#   CONFORMANCE_PORT  the first of 132 free ports, of which the cluster uses 100 (default: 17700)
#   ADDRESS           HOST:PORT of a server to run against instead: valkey-server, for baseline.tsv
#
# `run.sh check` only looks for what is missing. The exit status is 1 if a test failed that known.tsv does not expect.
set -euo pipefail

conformance_dir=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=deploy/setup/env.sh
source "$conformance_dir/../../deploy/setup/env.sh"

binary=${FASTNESS_BIN:-$CARGO_TARGET_DIR/release/fastness}
out=${OUT:-$FASTNESS_CACHE/conformance}
first_port=${CONFORMANCE_PORT:-17700}
# The suite's own processes talk on one of the 32 ports before this one.
suite_port=$((first_port + 132))
nodes=3
# A pass over a unit is given up when no test ends for so long, or after the longest time; then a second pass follows
# with a limit on every reply.
stall_seconds=60
unit_seconds=900
reply_seconds=10

say() { printf 'conformance: %s\n' "$*"; }
die() {
    say "$*" >&2
    exit 2
}

# --- What is needed --------------------------------------------------------------------------------------
check() {
    local missing=() program
    [[ -n "${VALKEY_SRC:-}" ]] \
        || die "VALKEY_SRC=DIR is missing: a checkout of Valkey 8.0.1, where \`make MALLOC=libc\` was run"
    [[ -f "$VALKEY_SRC/tests/test_helper.tcl" ]] \
        || die "$VALKEY_SRC is no checkout of Valkey: it has no tests/test_helper.tcl"
    grep -q '^#define VALKEY_VERSION "8\.0\.1"' "$VALKEY_SRC/src/version.h" \
        || say "$VALKEY_SRC is not Valkey 8.0.1: baseline.tsv and known.tsv do not match it"
    command -v tclsh >/dev/null || missing+=("tclsh (package tcl)")
    for program in src/valkey-cli src/valkey-benchmark; do
        [[ -x "$VALKEY_SRC/$program" ]] || missing+=("$VALKEY_SRC/$program (\`make MALLOC=libc\` there)")
    done
    ((${#missing[@]} == 0)) || die "missing: $(printf '%s; ' "${missing[@]}" | sed 's/; $//')"
}

# --- The cluster -----------------------------------------------------------------------------------------
cluster=
suite=

# Stops the pass that is running, and removes the cluster.
finish() {
    if [[ -n "$suite" ]]; then kill "$suite" 2>/dev/null || true; fi
    if [[ -n "$cluster" ]]; then
        local node
        for ((node = 1; node <= nodes; node++)); do
            cp "$cluster/nodes/$node/node.log" "$out/cluster/node-$node.log" 2>/dev/null || true
        done
        "$binary" dev stop --dir "$cluster" >/dev/null || true
        rm -rf "$cluster"
    fi
}

# `async`, because the suite sends one command at a time and would wait for a sync of the disk after each. The primary
# stays the primary although the machine is busy: the suite does not follow redirects. DEBUG is allowed, because the suite
# uses it to stop active expiry, to sleep, to reload and to compare digests.
start_cluster() {
    [[ -x "$binary" ]] || die "there is no binary $binary: \`make conformance\` builds it"
    cluster=$(mktemp -d "${TMPDIR:-/tmp}/fastness-conformance.XXXXXX")
    printf 'failover-timeout 10s\nloop-stall-max 10m\nenable-debug-command yes\n' >"$cluster/options.conf"
    "$binary" dev --detach --dir "$cluster" --shards 1 --replicas $((nodes - 1)) --durability async \
        --port "$first_port" >"$out/cluster.log" || die "the cluster does not start: $out/cluster.log"
}

# Sets `host` and `port` of the shard's primary, which may have moved.
find_primary() {
    local attempt node role
    if [[ -n "${ADDRESS:-}" ]]; then
        host=${ADDRESS%:*} port=${ADDRESS##*:}
        return 0
    fi
    host=127.0.0.1
    for ((attempt = 0; attempt < 150; attempt++)); do
        for ((node = 0; node < nodes; node++)); do
            port=$((first_port + node))
            role=$("$VALKEY_SRC/src/valkey-cli" -h "$host" -p "$port" role 2>/dev/null | head -n 1) || role=
            if [[ "$role" == master ]]; then return 0; fi
        done
        sleep 0.2
    done
    die "the shard has had no primary for 30 s"
}

# --- One unit --------------------------------------------------------------------------------------------
# Prints how many tests valkey-server runs in a unit, or nothing.
expected() { awk -F'\t' -v unit="$1" '$1 == unit { print $2 }' "$conformance_dir/baseline.tsv"; }

# One pass over a unit; sets `passed`, `failed` and `broken` (1 if the pass did not reach the end of the unit).
pass() { # pass UNIT FILE [SECONDS of a reply]
    local limits=()
    if [[ -n "${3:-}" ]]; then limits=("CONFORMANCE_REPLY_SECONDS=$3"); fi
    find_primary
    # In the background, because bash handles Ctrl-C only while it waits.
    (
        cd "$VALKEY_SRC"
        mkdir -p tests/tmp
        exec env "${limits[@]}" timeout -k 5 "$unit_seconds" tclsh "$conformance_dir/overlay.tcl" \
            --host "$host" --port "$port" --cluster-mode --single "$1" --durable --timeout "$stall_seconds" \
            --baseport "$suite_port" --dont-clean --dont-pre-clean
    ) >"$2.log" 2>&1 &
    suite=$!
    wait "$suite" || true
    suite=
    rm -f "$2.tests"
    touch "$2.tests"
    read -r passed failed broken < <(awk -v tests="$2.tests" -f "$conformance_dir/results.awk" "$2.log")
}

# Runs a unit, and adds it to the lists.
run_unit() { # run_unit UNIT
    local unit=$1 file=$out/${1//\//_} started=$SECONDS note='' passed failed broken total unreached first_primary
    rm -f "$file".*
    pass "$unit" "$file"
    first_primary=$port
    find_primary
    if ((port != first_primary)); then
        note="again, because the primary has moved; "
        pass "$unit" "$file"
    fi
    if ((broken)); then
        local passed_first=$passed failed_first=$failed
        note+="stopped; "
        pass "$unit" "$file.second" "$reply_seconds"
        if ((passed >= passed_first)); then
            file=$file.second
        else
            passed=$passed_first failed=$failed_first broken=1
        fi
        if ((broken)); then note+="not finished; "; fi
    fi
    total=$(expected "$unit")
    if [[ -z "$total" ]]; then
        total=$((passed + failed))
        note+="no baseline; "
    fi
    unreached=$((total > passed + failed ? total - passed - failed : 0))
    failed=$((failed + unreached))
    awk -F'\t' -v unit="$unit" '$1 == "failed" { print unit "\t" $2 "\t" $3 }' "$file.tests" >>"$out/failed.tsv"
    awk -F'\t' -v unit="$unit" '$1 == "outside" { print unit "\t" $3 }' "$file.tests" >>"$out/outside.tsv"
    if ((unreached > 0)); then printf '%s\t(not reached)\t%d tests\n' "$unit" "$unreached" >>"$out/failed.tsv"; fi
    printf '%s\t%d\t%d\t%d\t%d\n' "$unit" $((passed + failed)) "$passed" "$failed" "$unreached" >>"$out/units.tsv"
    row "$unit" $((passed + failed)) "$passed" "$failed" "$unreached" $((SECONDS - started)) "${note%; }"
}

row() { printf '%-36s %6s %7s %7s %12s %8s  %s\n' "$@"; }

# --- All of it -------------------------------------------------------------------------------------------
# Prints what known.tsv does not expect, and the total; returns 1 if there are unexpected failures.
report() {
    local new
    awk -f "$conformance_dir/known.awk" "$conformance_dir/known.tsv" "$out/units.tsv" "$out/failed.tsv" \
        >"$out/compared.tsv"
    new=$(grep -c '^new' "$out/compared.tsv" || true)
    if ((new > 0)); then
        printf '\nfailed, not in known.tsv:\n'
        awk -F'\t' '$1 == "new" { printf "  %s: %s\n      %s\n", $2, $3, $4 }' "$out/compared.tsv"
    fi
    if grep -q '^passes' "$out/compared.tsv"; then
        printf '\nin known.tsv, but did not fail:\n'
        awk -F'\t' '$1 == "passes" { printf "  %s: %s\n", $2, $3 }' "$out/compared.tsv"
    fi
    printf '\n'
    say "failed tests with their errors: $out/failed.tsv; logs: $out/*.log"
    awk -F'\t' -v new="$new" '{ tests += $2; passed += $3; failed += $4 }
        END { printf "conformance: %d of %d tests passed (%.1f %%), %d failed, %d of these unexpected\n",
            passed, tests, tests ? 100 * passed / tests : 0, failed, new }' "$out/units.tsv"
    ((new == 0))
}

main() {
    check
    if [[ "${1:-}" == check ]]; then exit 0; fi
    VALKEY_SRC=$(cd "$VALKEY_SRC" && pwd)
    mkdir -p "$out/cluster"
    out=$(cd "$out" && pwd)
    for list in units failed outside; do : >"$out/$list.tsv"; done
    read -ra units <<<"${UNIT:-$(awk -F'\t' '!/^#/ { printf "%s ", $1 }' "$conformance_dir/baseline.tsv")}"

    trap finish EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM
    if [[ -z "${ADDRESS:-}" ]]; then start_cluster; fi
    row unit tests passed failed 'not reached' seconds ''
    for unit in "${units[@]}"; do run_unit "$unit"; done
    report
}

main "$@"
