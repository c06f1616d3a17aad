"""What the commented form of the rendered configuration says, and where."""

from __future__ import annotations

from router_extproc.envoyconf.commented import Comments

HEADINGS = {
    "bootstrap": (
        "What Envoy reads once at start. Written by `router-extproc render`; change router.yaml, not this file.\n"
        "Start it in this directory, beside `router-extproc serve`: envoy -c bootstrap.yaml"
    ),
    "lds": "The listener that clients connect to. Written by `router-extproc render`; change router.yaml, not this file.",
    "rds": "Which request goes where. Written by `router-extproc render`; change router.yaml, not this file.",
    "cds": (
        "The providers: one cluster for each deployment. Written by `router-extproc render`; change router.yaml, not this file."
    ),
}

_BOOTSTRAP = {
    ("node",): "Who this Envoy is: secrets from files are refused without both names.",
    ("admin",): "Envoy's own admin interface. Whoever reaches it can stop Envoy: keep it on loopback.",
    ("dynamic_resources",): "These files are read again whenever one is replaced by a rename: no restart, no dropped request.",
    ("clusters", "extproc"): "The deciders. A worker's socket stays the same when the worker is replaced.",
    ("clusters", "observer"): "The observer, which receives the access logs.",
    ("circuit_breakers",): "Lifted: every request in flight holds one gRPC stream, and request 1025 would pass undecided.",
    ("health_checks",): "A worker that stops serving, or says that it is about to, gets no new request within a second.",
    ("common_lb_config",): "Never back to workers known to be dead: then the default chain serves.",
    ("overload_manager",): "Without a bound, one client can take all the file descriptors.",
}

_LISTENER = {
    (
        "per_connection_buffer_limit_bytes",
    ): "Envoy's default of 1 MiB, like the 32 KiB of other gateways, refuses long prompts.",
    ("resources", "clients", "filter_chains", "transport_socket"): "TLS; the certificate is read again when it is renewed.",
    ("use_remote_address",): "The peer's address is the client's: no header makes a client trusted.",
    ("early_header_mutation_extensions",): "Clients neither steer Envoy nor choose the decision's id.",
    ("local_reply_config",): "Errors that Envoy makes itself, in the shape of OpenAI's. The first that matches wins.",
    ("http_filters",): "In request order; on the answer they run in reverse.",
    ("http_filters", "token"): "Who has no valid token goes no further; its payload goes to the worker, and nowhere else.",
    (
        "http_filters",
        "usage_only",
    ): "Only for streams whose usage the router asked for and the client did not: that event stays here.",
    ("http_filters", "body"): "The whole body, so that it leaves with the headers: one exchange with a worker, not two.",
    ("http_filters", "usage"): "Token counts of plain answers, for the logs: no Python on the way back.",
    ("http_filters", "usage_of_streams"): "Token counts of streams.",
    ("http_filters", "pause"): "Only for a large request whose worker died: Envoy learns of that death.",
    ("http_filters", "ext_proc.route.again"): "Only then: shows the request to another worker.",
    ("http_filters", "ext_proc.route"): "The route leg: a worker decides, and its decision becomes the request's ticket.",
    ("http_filters", "undecided"): "Only where no worker decided: lets through what may then pass, all else its route refuses.",
    ("failure_mode_allow",): "When no worker can decide, the default chain of the routes serves.",
    ("retry_policy",): "An exchange whose worker dies before it answered starts again at another worker.",
    ("http_filters", "length"): "ext_proc removes content-length, which some providers require: this puts it back.",
    ("http_filters", "strip"): "What was meant for the router stays here, the client's credentials above all.",
    ("http_filters", "router"): "One log entry for each attempt.",
    ("access_log",): "One entry for each request: to the observer, and as a JSON line in a file of its own.",
}

_ROUTES = {
    ("routes", "stream"): "Streams: bounded by the silence between two pieces, not in length.",
    ("routes", "plain"): "Plain answers are silent until they are complete: only the deadline bounds them.",
    ("routes", "undecided"): "No ticket: no worker could decide, or none was asked yet.",
    ("routes", "not-found"): "Answered by Envoy alone: no body is read and no worker asked.",
    ("inline_cluster_specifier_plugin",): "Attempt N goes to group N of the ticket; without one, of this default chain.",
    ("timeout",): "Deadlines come with each request; Envoy's default of 15 s would cut every long stream.",
    ("idle_timeout",): "A backstop: it runs over all attempts until the first byte goes to the client.",
    ("retry_policy",): "A failed attempt, 429 included, moves on to the next group at once.",
    (
        "response_headers_to_add",
    ): "What clients learn about the decision. A later line of the same name wins where it has a value.",
    ("response_headers_to_remove",): "By this header router.lua tells Envoy not to retry.",
}

_CLUSTERS = {
    ("lb_endpoints",): "The provider's address.",
    ("policy",): "Everything stays on the provider's own addresses while there is one; the refusing one is only for none.",
    ("circuit_breakers",): "The provider's max_connections and max_requests.",
    ("outlier_detection",): "One address of several that keeps failing, 429 included, is left out for a while.",
    ("metadata",): "What Lua and the response headers know about this deployment.",
    ("cluster_type",): "The name is resolved again as its records expire.",
    ("common_tls_context",): "The certificate must name the host and be signed by one of these authorities.",
    ("http_filters",): "Run again on every attempt; on the answer in reverse.",
    ("http_filters", "prepare"): "Carries this cluster's metadata to Lua, which cannot read it.",
    ("http_filters", "lua"): "Path, host, which group comes after a failure, and streams that ended too early.",
    (
        "http_filters",
        "ext_proc.judge",
    ): "The attempt leg, only where the ticket asks: an answer is judged before the client sees it.",
    (
        "http_filters",
        "ext_proc.rename",
    ): "The attempt leg, only where the ticket asks: a later provider has its own model id, or is never asked for usage.",
    (
        "http_filters",
        "ext_proc.unpack",
    ): "The attempt leg, only for an answer that is compressed although none was asked for.",
    (
        "http_filters",
        "answered",
    ): "Only for answers that are held: notes that they began, whatever becomes of them.",
    ("http_filters", "strip"): "Providers see nothing of ours, and cannot speak for us.",
    ("http_filters", "credential"): "The key, from a file that only Envoy reads; a replaced file is used at once.",
}

COMMENTS: dict[str, Comments] = {"bootstrap": _BOOTSTRAP, "lds": _LISTENER, "rds": _ROUTES, "cds": _CLUSTERS}
"""The comments of each document."""
