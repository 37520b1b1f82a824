// Package api is the front-end for any NATS client: channels bound to subjects,
// and everything a channel can do under the subject prefix "$LEAT.".
//
//	$LEAT.PUB.<channel>             store the message in the channel
//	$LEAT.REPLAY.<channel>          deliver records to an inbox
//	$LEAT.ACK.<replay>.<offset>     acknowledge a delivered record
//	$LEAT.API.CHANNEL.LIST          administration: requests and answers in JSON
//	$LEAT.API.CHANNEL.{SHOW,CREATE,SET,PURGE,DELETE}.<channel>
//	$LEAT.API.CURSOR.{LIST,SHOW,RESET,DELETE}.<channel>
//	$LEAT.API.INFO                  what this node is
//
// A message on a subject that a channel is bound to is stored with its subject
// and headers. A stored message that has a reply subject is acknowledged there
// once it is durable, as {"stream":CHANNEL,"seq":OFFSET}; when it could not be
// stored the answer holds an error instead. API.md shows all of it with the
// plain nats command.
//
// Invariants: a message is acknowledged only after the partition said that it
// is durable; messages that one connection publishes to one channel keep their
// order; a binding is in force before the request that made it is answered; a
// durable's place has one replay at most that moves it; nothing that a receiver
// or a reply subject does holds up the goroutine that applies.
//
// It lives on a wire.Bus and knows no socket. Start with [Open]; a publish is in
// publish.go, its acknowledgement in wire.Acker, a replay in replay.go, then
// plain.go or windowed.go, administration in admin.go and cursors.go.
package api
