"""What harness and workers of a chaos run have to know of each other; the workers alone set the product's times."""

LEASE_SECONDS = 4.0
BACKOFF_SECONDS = (0.2, 0.5, 1.0)
CHILD = "CHAOS_CHILD"
"""The variable that names the module which is the child."""
