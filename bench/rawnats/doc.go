// Package rawnats is a NATS client for runs of messages: it writes what the
// caller has laid out in a buffer, and hands over what comes in place, with no
// allocation, copy or goroutine for a message. `leat replay` and the workloads
// that look for the ceiling of a server stand on it; everything else is better
// off with nats.go.
//
// Invariants: a Msg is valid only during the call that it is passed to; a server
// that sends faster than the caller takes is held back by the connection, and
// nothing piles up in this process.
//
// It does not reconnect, does not follow a cluster's other servers, and speaks
// neither TLS nor websockets. Start with [Dial] and [Conn.Receive].
package rawnats
