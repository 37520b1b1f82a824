// Package segment is the log of one partition: a folder of append-only files
// that is at once the Raft log and the store of records.
//
// A [Log] appends frames (one Raft entry each), gives them back by Raft index,
// cuts its end when Raft changes its mind, drops whole segments from its front,
// and lends mapped segments to readers, who find batches by channel and offset
// or time. FORMAT.md shows the bytes.
//
// # Invariants
//
//   - Append returns nil only after fdatasync has returned nil, and readers see
//     an entry only from then on.
//   - Bytes of a segment are written once. The exceptions are a footer that the
//     manifest does not list yet, on which nobody has relied, and zeros that are
//     written over zeros, ahead of small appends, to make their syncs short.
//   - A segment's first frame, the opening marker, is synced before anything
//     else is written behind it. So a file without one was never used, and one
//     with it proves where the segment before it ended.
//   - Every frame says up to which position its file was known durable when it
//     was written. Damage below a position proven so (or by the manifest, or by
//     the opening marker of the next segment) is corruption and is never cut.
//   - Entries are contiguous over all segments; the chain over them is kept in
//     each frame and continues over segments, truncations and resets.
//   - After a failed write or sync the log is poisoned: every later change
//     returns that error, what was under way has an unknown outcome, and reads
//     go on.
//   - The manifest changes before what depends on it: a file is listed after its
//     name is durable, and unlisted after its removal is.
//
// # What it does not do
//
// It elects nobody and decides nothing about retention. It does not interpret
// commands, does not compress, and does not repair: a damaged log refuses to
// open, and says where.
//
// # Goroutines
//
// Log.maintainLoop prepares the next segment, seals full ones, removes retired
// ones. Log.markLoop writes sync markers when the log has been idle.
// Log.fillLoop writes zeros ahead of appends. Open starts them, Close ends them
// and waits.
//
// # Locks, in order
//
// writeMu (one mutator at a time), fileMu (files are prepared, sealed, removed;
// the manifest is written), mu (what readers see). No I/O is done under mu, but
// for the unmapping of an idle segment. The filler's lock is a leaf behind
// writeMu.
//
// Start with log.go and append.go, then recover.go; scan.go holds the one
// classification of tails that recovery and [Verify] share.
package segment
