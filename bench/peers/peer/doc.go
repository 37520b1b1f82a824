// Package peer installs and runs the servers that a comparison needs, each as
// a process of its own: nats-server with JetStream, nats-streaming-server, and
// Leat.
//
// Invariants: every Process has a data directory that nobody used before and a
// free loopback port; Stop ends that process only, waits for it, and removes
// its directory. Programs are installed once into a folder of this tool's own
// and never taken from PATH.
//
// It does not know workloads. Start reading at process.go; how a server is
// configured is in servers.go.
package peer
