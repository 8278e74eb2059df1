"""Store Manager: the REST API of a store on Apache Cassandra, without a single point of failure."""

__version__ = "0.1.0"
