"""The way from the Models to the cluster: connection, prepared statements, policies, deadlines, failures."""
