#!/bin/bash
# Writes Cassandra's configuration from the variables that the official image knows, then becomes Cassandra.
# What the official image leaves at its default (a periodic commit log, 16 tokens) is left there too, so that a
# compose file which works with this image works with the official one.
set -euo pipefail

[ "${1:-cassandra}" = cassandra ] || exec "$@"

address=${CASSANDRA_LISTEN_ADDRESS:-auto}
[ "$address" != auto ] || address=$(hostname -i | cut -d' ' -f1)
broadcast_address=${CASSANDRA_BROADCAST_ADDRESS:-$address}
[ "$broadcast_address" != auto ] || broadcast_address=$(hostname -i | cut -d' ' -f1)

cat > /etc/cassandra/cassandra.yaml <<YAML
cluster_name: '${CASSANDRA_CLUSTER_NAME:-Test Cluster}'
num_tokens: ${CASSANDRA_NUM_TOKENS:-16}
allocate_tokens_for_local_replication_factor: 3
seed_provider:
  - class_name: org.apache.cassandra.locator.SimpleSeedProvider
    parameters:
      - seeds: "${CASSANDRA_SEEDS:-$broadcast_address}"
listen_address: $address
broadcast_address: $broadcast_address
rpc_address: ${CASSANDRA_RPC_ADDRESS:-0.0.0.0}
broadcast_rpc_address: ${CASSANDRA_BROADCAST_RPC_ADDRESS:-$broadcast_address}
endpoint_snitch: ${CASSANDRA_ENDPOINT_SNITCH:-SimpleSnitch}
partitioner: org.apache.cassandra.dht.Murmur3Partitioner
commitlog_sync: periodic
commitlog_sync_period: 10000ms
YAML
cat > /etc/cassandra/cassandra-rackdc.properties <<PROPERTIES
dc=${CASSANDRA_DC:-dc1}
rack=${CASSANDRA_RACK:-rack1}
PROPERTIES

heap=${MAX_HEAP_SIZE:-512M}
# Both may hold several options, as with the official image.
read -ra extra <<< "${JVM_OPTS:-} ${JVM_EXTRA_OPTS:-}"
exec /opt/java/bin/java @/opt/cassandra/java.options "-Xms$heap" "-Xmx$heap" "-Xmn${HEAP_NEWSIZE:-128M}" "${extra[@]}" \
    -cp '/opt/cassandra/lib/*' org.apache.cassandra.service.CassandraDaemon
