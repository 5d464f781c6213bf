# Certificates, keys, the password, and the files that containers mount.
#
#   DIR/port, password            the first port; the password of the user `default`
#   DIR/ca/                       ca.crt, ca.key
#   DIR/admin/                    ca.crt, admin.crt, admin.key
#   DIR/nodes/N/                  fastness.conf, node.crt, node.key, ca.crt, master.key
#   DIR/prometheus/               prometheus.yml, rules/
#   DIR/cluster.json              where the nodes are, for `fastness --dir DIR` and for the Rust SDK
#   DIR/compose.env               the variables of docker-compose.yml

# Made once; the folder appears whole.
make_secrets() {
    [[ -d "$lab_dir/nodes" ]] && return
    local part="$lab_dir/new" node
    rm -rf "$part"
    mkdir -p "$part/nodes" "$part/admin"
    say "making the certificates of a new cluster in $lab_dir"
    "$lab_binary" certs ca --out "$part/ca" >/dev/null
    "$lab_binary" certs admin --ca "$part/ca" --out "$part/admin" --days 3650 >/dev/null
    cp "$part/ca/ca.crt" "$part/admin/"
    for node in 1 2 3; do
        "$lab_binary" certs node --ca "$part/ca" --node-id "$node" --lab --days 3650 --host "node-${lab_azs[node - 1]}" \
            --host localhost --host 127.0.0.1 --out "$part/nodes/$node" >/dev/null
        cp "$part/ca/ca.crt" "$part/nodes/$node/"
        (umask 077 && random_hex 32 >"$part/nodes/$node/master.key")
    done
    (umask 077 && random_hex 8 >"$part/password")
    echo "$lab_port" >"$part/port"
    mv "$part/ca" "$part/admin" "$part/password" "$part/port" "$lab_dir/"
    mv "$part/nodes" "$lab_dir/"
    rmdir "$part"
}

random_hex() { od -An -v -tx1 -N "$1" /dev/urandom | tr -d ' \n'; }

# Written at each start, so that they match the checkout.
write_files() {
    local node
    for node in 1 2 3; do node_config "$node" >"$lab_dir/nodes/$node/fastness.conf"; done
    (umask 077 && cluster_json >"$lab_dir/cluster.json")
    compose_env >"$lab_dir/compose.env"
    mkdir -p "$lab_dir/prometheus/rules"
    cp "$fastness_root/deploy/lab/prometheus/prometheus.yml" "$lab_dir/prometheus/"
    rm -f "$lab_dir/prometheus/rules/"*
    cp "$fastness_root/deploy/prometheus/alerts.yml" "$lab_dir/prometheus/rules/"
    # The account of the containers reads the keys, and nobody else does.
    chmod 700 "$lab_dir"/nodes/* "$lab_dir/admin" "$lab_dir/ca"
    if (($(id -u) == 0)); then chown -R "$lab_uid:$lab_gid" "$lab_dir/nodes" "$lab_dir/admin"; fi
}

node_config() {
    local az=${lab_azs[$1 - 1]}
    cat <<END
# Node $1 of the container lab; written again at each start by deploy/lab/lab.sh.
node-id $1
availability-zone $az
dir /var/lib/fastness
durability sync
master-key-file /etc/fastness/master.key

# The plaintext ports are published on the loopback address of the host only, with the same numbers. So clients that
# came through one are told 127.0.0.1 for every node, and clients that came through TLS, from other containers, node-$az.
bind 0.0.0.0
port $(lab_plaintext_port "$1")
plaintext-beyond-loopback yes
cluster-announce-plaintext-ip 127.0.0.1
cluster-announce-ip node-$az
tls-port 6379
peer-port 16379
grpc-port 17379
metrics-port 9121
tls-cert-file /etc/fastness/node.crt
tls-key-file /etc/fastness/node.key
tls-ca-cert-file /etc/fastness/ca.crt
tls-auth-clients optional
requirepass $(cat "$lab_dir/password")

# A small node: three replicas in 512 MiB.
maxmemory 64mb
grpc-memory 128mb
disk-budget 1gb
shutdown-timeout 5
# Faults can be injected with \`fastness lab\`.
lab yes
END
}

# In the format of \`fastness dev\` (deploy/README.md), and of each node the name of its container, and the address that
# other nodes have of its gRPC port.
cluster_json() {
    local node shard first nodes=() resp
    for node in 1 2 3; do
        first=$(lab_plaintext_port "$node") resp=()
        for ((shard = 1; shard <= lab_shards; shard++)); do
            resp+=("{\"shard\": $shard, \"host\": \"127.0.0.1\", \"port\": $((first + shard - 1))}")
        done
        nodes+=("$(printf '    {"id": %d, "az": "%s", "container": "%s-node-%s", "grpc": "127.0.0.1:%d", "grpc_announced": "node-%s:17379", "metrics": "127.0.0.1:%d",\n     "resp": [%s]}' \
            "$node" "${lab_azs[node - 1]}" "$lab_name" "${lab_azs[node - 1]}" "$(lab_grpc_port "$node")" "${lab_azs[node - 1]}" \
            "$(lab_metrics_port "$node")" "$(joined ', ' "${resp[@]}")")")
    done
    printf '{\n  "nodes": [\n%s\n  ],\n  "ca": "admin/ca.crt",\n  "admin_cert": "admin/admin.crt",\n  "password": "%s",\n  "durability": "sync",\n  "shards": %d\n}\n' \
        "$(joined $',\n' "${nodes[@]}")" "$(cat "$lab_dir/password")" "$lab_shards"
}

joined() { # joined SEPARATOR WORD...
    local separator=$1 text=$2
    shift 2
    printf '%s' "$text" "${@/#/$separator}"
}

compose_env() {
    local node first upper
    printf 'LAB_NAME=%s\nLAB_DIR=%s\nLAB_IMAGE=%s\n' "$lab_name" "$lab_dir" "$lab_image"
    printf 'LAB_PROMETHEUS_IMAGE=%s\nLAB_GRAFANA_IMAGE=%s\n' "$lab_prometheus_image" "$lab_grafana_image"
    printf 'LAB_PROMETHEUS_PORT=%s\nLAB_GRAFANA_PORT=%s\n' "$lab_prometheus_port" "$lab_grafana_port"
    for node in 1 2 3; do
        first=$(lab_plaintext_port "$node") upper=${lab_azs[node - 1]^^}
        printf 'LAB_PLAINTEXT_%s=%d-%d\n' "$upper" "$first" $((first + lab_shards - 1))
        printf 'LAB_GRPC_%s=%d\nLAB_METRICS_%s=%d\n' "$upper" "$(lab_grpc_port "$node")" "$upper" "$(lab_metrics_port "$node")"
    done
}
