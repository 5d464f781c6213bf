# Names, folder and ports of the lab. Sourced by lab.sh; changes nothing.
#
#   FASTNESS_LAB_DIR     certificates, keys, configs of the nodes, password (default: .fastness-lab in the checkout)
#   FASTNESS_LAB_NAME    project, and prefix of all containers, networks and volumes (default: fastness-lab)
#   FASTNESS_LAB_PORT    first of 17 ports on loopback (default: 7500); fixed for the life of a lab
#   FASTNESS_BIN         a binary to use instead of building one; it must run on the base image
#   FASTNESS_LAB_BASE    base image to use instead of this machine's own distribution
#   FASTNESS_LAB_PULL    no: pull nothing; yes (default): pull what is missing, and do without it if that fails

lab_dir=${FASTNESS_LAB_DIR:-$fastness_root/.fastness-lab}
lab_name=${FASTNESS_LAB_NAME:-fastness-lab}
lab_memory_mib=${FASTNESS_LAB_MEMORY_MIB:-2048} # what must be free
lab_pull=${FASTNESS_LAB_PULL:-yes}
lab_azs=(a b c)
lab_shards=3

lab_image="$lab_name:local"
lab_network="${lab_name}_between"
lab_grafana_image=grafana/grafana-oss:11.6.1
lab_prometheus_pulled=prom/prometheus:v2.53.4
lab_client_pulled=valkey/valkey:8.1
lab_prometheus_image=$lab_prometheus_pulled

# Node N is in the Nth AZ. Ports from the first one on: the plaintext ports of node 1, 2, 3; gRPC of 1, 2, 3; metrics of
# 1, 2, 3; Prometheus; Grafana.
lab_first_port() {
    if [[ -f "$lab_dir/port" ]]; then cat "$lab_dir/port"; else printf '%s' "${FASTNESS_LAB_PORT:-7500}"; fi
}
lab_port=$(lab_first_port)
lab_plaintext_port() { echo $((lab_port + ($1 - 1) * lab_shards)); }
lab_grpc_port() { echo $((lab_port + 9 + $1 - 1)); }
lab_metrics_port() { echo $((lab_port + 12 + $1 - 1)); }
lab_prometheus_port=$((lab_port + 15))
lab_grafana_port=$((lab_port + 16))

# Containers do not run as root: as the caller, or as an account without a name.
lab_uid=$(id -u) lab_gid=$(id -g)
if ((lab_uid == 0)); then lab_uid=10001 lab_gid=10001; fi

say() { printf 'lab: %s\n' "$*"; }
die() {
    printf 'lab: %s\n' "$*" >&2
    exit 1
}

# docker-compose, or docker's plugin.
lab_compose=()
find_compose() {
    if docker compose version >/dev/null 2>&1; then
        lab_compose=(docker compose)
    elif command -v docker-compose >/dev/null; then
        lab_compose=(docker-compose)
    else
        die "neither 'docker compose' nor docker-compose is installed: on Debian, apt-get install docker-compose"
    fi
}
compose() {
    local variables=()
    if [[ -f "$lab_dir/compose.env" ]]; then variables=(--env-file "$lab_dir/compose.env"); fi
    "${lab_compose[@]}" --project-name "$lab_name" "${variables[@]}" \
        --file "$fastness_root/deploy/lab/docker-compose.yml" "$@"
}
# The same command for the user.
compose_words() {
    printf '%s -p %s --env-file %s -f %s' "${lab_compose[*]}" "$lab_name" "$lab_dir/compose.env" \
        "$fastness_root/deploy/lab/docker-compose.yml"
}

# Ids of the lab's running containers.
running() { docker ps --quiet --filter "label=com.docker.compose.project=$lab_name"; }

# A command of an administrator, in a container beside the nodes.
admin() {
    docker run --rm --network "$lab_network" --read-only --cap-drop ALL --security-opt no-new-privileges \
        --volume "$lab_dir/admin:/etc/fastness:ro" "$lab_image" "$@" \
        --ca /etc/fastness/ca.crt --admin-cert /etc/fastness/admin.crt --admin-key /etc/fastness/admin.key
}
