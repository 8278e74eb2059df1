"""The lab: a real Cassandra on this machine, one node or several, without Docker.

It knows nothing of the store (only its root error), and never ships in the service's image.
"""
