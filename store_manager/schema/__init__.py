"""The schema: what the Models declare, compared with the cluster, planned, and carried out.

The tables themselves are declared in `store_manager.models`, and nothing here knows one of them by name.
"""
