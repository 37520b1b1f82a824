// Package client holds the workloads. Each runs against a server at a URL and
// checks what it got before it gives a figure: every message acknowledged once,
// every record delivered once, in order, byte for byte. A workload that finds
// anything else returns an error and no figure.
//
// The same code runs against every server; what differs between them (how a
// stream is made, how a replay is asked for) is behind Store: jetstream.go and
// leat.go.
//
// It starts no servers. Start reading at job.go.
package client
