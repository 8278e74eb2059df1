"""The cluster as its operators see it: how every node is, repair, the replication of Cassandra's own keyspaces.

It asks any cluster, also one in production, and knows none of the store's tables. What only works by JMX stands apart,
in `store_manager.cluster.management`: the service's image has no Java.
"""
