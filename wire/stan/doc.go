// Package stan is the front-end for NATS Streaming ("STAN") clients: they
// connect, publish, subscribe and notice nothing.
//
// A STAN client is a NATS client that exchanges protobuf messages (package pb)
// on agreed subjects with a server that it cannot see, so this package lives on
// a wire.Bus and knows no socket. PROTOCOL.md lists subjects, messages, limits
// and error texts, and what differs from nats-streaming-server on purpose.
//
// What is stored where: a message is a record of the channel; its sequence is
// the offset, its timestamp the record's time. A connected client is a session
// (kind 'C'), a subscription is a session (kind 'S') in the channel's
// partition, and the place of a subscription, a durable or a queue group is a
// cursor of the channel. So all of it is recovered, and a client need not know
// that the node was restarted.
//
// Invariants:
//
//   - A publish is acknowledged only after the partition said it is durable.
//   - A request is answered only after what it changes is durable.
//   - What a source sent before a request (publishes, acknowledgements) has
//     taken effect before the request does: close and unsubscribe are barriers.
//   - Requests of one client take effect one after the other, in the order in
//     which they came.
//   - No message reaches a subscription before its SubscriptionResponse.
//
// Start with [Open] in frontend.go; a publish is in publish.go, a connection in
// connect.go and clients.go, a subscription in subscribe.go.
package stan
