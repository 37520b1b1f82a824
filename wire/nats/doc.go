// Package nats is the server side of the NATS client protocol on one node: it
// owns the sockets, parses what clients send, and routes messages by subject
// between clients and handlers of this process. [Server] is the node's
// wire.Bus.
//
// Invariants:
//   - Messages of one source to one receiver keep their order.
//   - A subscription is in force when its +OK or the PONG of a later PING is
//     sent, and what a client published before a PING is routed when it gets
//     the PONG.
//   - What waits for a client is bounded (Options.PendingBytesMax); a client
//     over the bound is cut off, and nobody else is held up for it for long.
//   - Routing a message allocates nothing.
//
// What it does not do: it stores nothing and knows nothing of storage, has no
// accounts and permissions, and speaks to no other servers. PROTOCOL.md has the
// supported protocol and the differences from nats-server.
//
// A message's way through the files: conn.go reads, parse.go takes operations
// off the buffer, op.go processes them, courier.go finds the receivers and
// stages bytes for them, outbox.go queues those, write.go writes. bus.go is the
// door for this process. Start with courier.go.
//
// Goroutines: one accept loop per Server; per connection run and writeLoop,
// which end with it. Close waits for all.
//
// Locks: Server.mu and conn.mu are taken before the tree's; outbox.mu is a leaf.
package nats
