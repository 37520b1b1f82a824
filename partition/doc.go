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
//     forgets what it knew and starts over from what was applied: an epoch, the
//     time from one Lead to the next, has one proposer and one term.
//   - One writer. The state that readers see is changed by Apply alone, in log
//     order.
//   - Offsets of a channel are dense from 1, and never given anew, not after a
//     purge either. Times of a partition's batches never go back.
//   - A reader sees only what was applied: First ≤ offset ≤ Last.
//   - An [Append] is done after its records were applied, so a reader that
//     learned of it finds them. An answer that says how something is (a channel
//     exists, or is deleted) is given when what it says is durable.
//   - Nothing waits for ever: not in the queue, which is bounded and refuses when
//     nobody leads, nor on the way, where the Proposer answers.
//   - The index lags behind and may be lost: it is written without sync, each
//     write batch carries `applied` with its effects, and what is missing is
//     applied again from the log. It lags by FlushDelay, idle or not, and after
//     a failed write it is not written any more.
//
// What it does not do: it does not know any client protocol, it does not elect
// or replicate, it does not schedule deliveries (package consumer does, with
// the pure cores cursor and delivery), it does not enforce a channel's limits by
// itself.
//
// Goroutines: proposeLoop (from Start to Close), flushLoop (from Open to Close),
// and a timer while nobody leads.
//
// Start with [Partition], then [Channel]. The life of a publish is
// Channel.Append (append.go), enqueue (queue.go), proposeLoop (proposer.go),
// Apply (machine.go). Formats are in command.go and state.go.
package partition
