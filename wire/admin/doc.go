// Package admin is the HTTP side of a node: health, metrics, and what the node
// is doing, in JSON. It is the only package that serves HTTP. It reads; it
// changes nothing.
//
//	/            the paths below
//	/healthz     200 {"status":"ok"} when the node takes publishes, else 503 with the reason
//	/varz        connections, messages, bytes: the names that nats-server's page has
//	/channelz    channels with their offsets, by page (?offset=0&limit=1000&prefix=)
//	/partitionz  the Raft group and watermarks of each partition
//	/metrics     Prometheus
//
// Start with [Listen] and [Serve].
package admin
