// Package wire declares what the front-ends and the router in front of them say
// to each other.
//
// A front-end is the server side of one client protocol. The router (package
// wire/nats) owns the sockets, parses the NATS client protocol, and matches
// subjects; a front-end that lives on subjects (wire/api, wire/stan) sees the
// router as a [Bus] and nothing else, so that the same front-end can also be
// attached to a NATS server that runs elsewhere.
//
// The interface is shaped by cost. A connection's read returns many messages,
// so a front-end takes them one by one without copying ([Sink.Msg]) and pays
// for locks, clock readings and proposals once, at the end of the read
// ([Sink.Flush]). What leaves goes through an [Outlet], which matches the
// subject once for a run of messages and takes a receiver's lock once per
// flush.
//
// Beside what is declared there is one thing that front-ends share: an [Acker],
// which tells publishers what became of their records.
//
// Start with [Bus].
package wire
