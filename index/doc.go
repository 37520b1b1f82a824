// Package index keeps what crosses segments in one Pebble store per node: for each partition its channels and their
// settings, the extent of each channel in each sealed segment, durable cursors, sessions of clients, and `applied`, the
// index and term of the last Raft entry whose effects are in here. It is the only package that imports Pebble.
//
// # Invariants
//
//   - Everything in here is derived. Lost or damaged, the folder is removed (Destroy) and rebuilt from segments and from
//     the commands in them. Nothing may be acknowledged because it is in here.
//   - No write is synced. A batch is atomic all the same, and batches survive as a prefix of the order in which they were
//     committed, so `applied` and its effects, which share a batch, never disagree. After a kill of the process the last
//     32 KiB or so of the write-ahead log are lost, after a power cut what was written since the last memtable flush or
//     Sync; the caller replays from Applied.
//   - A partition has one writer at a time. Readers are any number and need no lock. Partitions do not disturb each other.
//   - Damage is an error, never a panic and never wrong data, as far as checksums reach: Pebble's on blocks, log records
//     and manifest, and one of ours on each value whose format is owned here.
//
// # What it does not do
//
// It does not know what the values of channels, cursors and sessions mean, it does not hold positions inside of segments
// (a segment's footer does), and it never syncs on its own account. Term and vote are elsewhere, in a store that syncs.
//
// # A full or failing disk
//
// Pebble cannot go on after a failed write of its log or its manifest. Free space must be watched so that it does not get
// there; Options.OnDiskFull is the last chance, called before one retry of the write. If that fails all the same,
// Options.OnFatal is called, every Commit returns ErrFailed from then on, what is committed stays readable, and the process
// should end. Where Pebble itself meets the failure first, on a goroutine of its own or while a Commit rotates its log, it
// panics, which ends the process; cause and file are logged before. Failed flushes and compactions are retried by Pebble,
// with growing pauses, and end nothing; while opening, a few of them make Open return ErrFailed.
//
// # Where to start
//
// format.go has the keys, batch.go writes them, extent.go finds an offset or a time, checkpoint.go moves a partition's
// state to another node, index.go opens and classifies what can go wrong.
package index
