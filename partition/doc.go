// Package partition is the state machine over one partition's log: channels,
// appends, reads, cursors and sessions.
//
// A partition carries many channels. Whatever changes it is an entry of its Raft
// log; the log is kept by package segment and replicated by package
// replication, which this package knows only as a [Proposer].
//
// Invariants:
//
//   - One source. On a leader the proposer goroutine is the only source of
//     entries, and proposes them in the order in which they will be applied. So
//     it knows the state that an entry will meet, gives offsets and channel ids
//     there, and applying only asserts them. A leader that lost its place
//     forgets what it knew and starts over from what was applied.
//   - One writer. The state that readers see is changed by Apply alone, in log
//     order.
//   - Offsets of a channel are dense from 1, and never given anew, not after a
//     purge either. Times of a partition's batches never go back.
//   - A reader sees only what was applied: First ≤ offset ≤ Last.
//   - An [Append] is done after its records were applied, so a reader that
//     learned of it finds them.
//   - The index lags behind and may be lost: it is written without sync, each
//     write batch carries `applied` with its effects, and what is missing is
//     applied again from the log.
//
// What it does not do: it does not know any client protocol, it does not elect
// or replicate, it does not schedule deliveries (package consumer does, with
// the pure cores cursor and delivery).
//
// Start with [Partition], then [Channel]; the life of a publish is
// Channel.Append (append.go), proposeLoop (proposer.go), Apply (machine.go).
package partition
