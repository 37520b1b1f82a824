// Package consumer drives the delivery of one channel to the members of one
// consumer: the goroutine, the clock and the reading around the pure core in
// package delivery.
//
// # How it works
//
// One goroutine owns the group, its cursor, its members and its readers. Others
// put events into a mailbox: acknowledgements, members that join, leave, fall
// silent or have room again, commits of the channel. Each turn of the loop takes
// the whole mailbox, asks the group what to send, reads it, and hands it to the
// members' sinks in runs. With nothing to do it gives up what it holds of the
// log and waits for an event or the next deadline.
//
// Progress is logged when it is LogInterval old or LogAcks acknowledgements
// long, one log entry at a time, and when the consumer is closed.
//
// # Invariants
//
//   - Sinks are called by the loop alone, and never after Leave or Close has
//     returned.
//   - Acknowledgements put in before a Leave or a Close count in it.
//   - What the group has decided to send is sent, or kept in order until the
//     member has room, or dropped because it was acknowledged or the member
//     has left.
//   - The mailbox is bounded: Ack waits while AcksMax ranges are in it.
//
// # What it does not do
//
// It knows no protocol and no names. Sinks must not block: one that does holds
// up the other members. It does not make or delete cursors in the log.
//
// Start with consumer.go (events), then loop.go (a turn) and feed.go (reading
// and handing out).
package consumer
