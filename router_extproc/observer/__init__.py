"""Turns Envoy's access logs into the decision log, live health and metrics; one process an instance.

Four files to read: ``intake`` (what happens to each entry), ``access_log`` (an entry as a value), ``join`` (attempts and
request become one record), ``health`` (when a deployment is left alone). Everything but ``server`` and ``admin`` works
without a network.
"""
