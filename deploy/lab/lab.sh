#!/usr/bin/env bash
# The lab in containers: `lab.sh up` starts it and prints what to try, `down` stops it and keeps its data, `clean`
# removes everything that it has made. `make lab`, `make lab-down` and `make lab-clean` call this. `lab.sh files` only
# makes the files that the containers mount, without Docker. README.md beside it describes the lab; steps/env.sh lists
# the variables.
set -euo pipefail

# shellcheck source=deploy/setup/env.sh
source "$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)/../setup/env.sh"
lab_binary=${FASTNESS_BIN:-$CARGO_TARGET_DIR/release/fastness}
for step in env check images files start report; do
    # shellcheck disable=SC1090
    source "$fastness_root/deploy/lab/steps/$step.sh"
done

up() {
    check_engine
    check_memory
    check_ports
    check_volumes
    make_folder
    make_base
    make_node_image
    make_tools
    find_grafana
    files
    local started=$SECONDS
    start
    say "every shard serves, $((SECONDS - started)) s after the start"
    report
}

files() {
    make_folder
    make_secrets
    write_files
}

make_folder() {
    [[ -x "$lab_binary" ]] || die "there is no binary $lab_binary: \`make lab\` builds it"
    mkdir -p "$lab_dir"
    lab_dir=$(cd "$lab_dir" && pwd)
}

down() {
    check_engine
    [[ -f "$lab_dir/compose.env" ]] || die "there is no lab in $lab_dir"
    compose --profile grafana down
    say "stopped; the data is kept in volumes of Docker, and the keys in $lab_dir"
}

clean() {
    check_engine
    compose --profile grafana down --volumes
    if present "$lab_image"; then docker rmi "$lab_image" >/dev/null; fi
    # The keys belong to the account of the containers if root has started the lab; nobody else has started it then.
    rm -rf "$lab_dir"
    say "removed; the images fastness-lab-base and fastness-lab-tools are kept for the next time (docker rmi)"
}

case "${1:-}" in
    up | down | clean | files) "$1" ;;
    *) die "usage: lab.sh up|down|clean|files" ;;
esac
