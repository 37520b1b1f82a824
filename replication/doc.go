// Package replication runs the Raft group of one partition over the partition's own log. It is the only package that
// knows hashicorp/raft.
//
// The partition's segments are Raft's LogStore: a message is written once. A Group takes payloads from the partition's
// proposer, stores them through Raft in the Log, and hands committed entries to the Machine in log order. A single node
// is a group of one voter; there is no second path.
//
// # Invariants
//
//   - done of a proposal is called once, in the order of Propose, after the machine has applied the entry. An error that
//     is ErrOutcomeUnknown leaves open whether the entry was written; every other one says that it was not.
//   - A proposal enters the log only in the term in which Machine.Lead was called before it. What the proposer assumed
//     about the state that its entry finds therefore holds; see termGuard in logstore.go.
//   - Raft never sees an error of a damaged or unreadable entry. hashicorp/raft answers one with a panic, an endless
//     retry, or by deleting a follower's good log. The caller is parked for good, the group is shut down without waiting
//     for it, and Options.OnStop tells the owner.
//   - After a failed append the group stops for good and acknowledges nothing any more. The exception is an error that
//     leaves the log as it was, such as ErrNoSpace: the group steps down, refuses proposals, and leads again by itself
//     when the log takes entries.
//   - Raft gets no entry without its payload, so neither does a follower. Nothing is left out to make the start cheap;
//     see below for what is done instead.
//   - Raft never deletes the front of the log: retention belongs to the owner, which keeps First ≤ snapshot index + 1.
//
// # Start
//
// hashicorp/raft would, at start, read every entry after its newest snapshot to look for configurations, and then send
// all of them to the state machine again. Open does both before Raft exists. It looks for configurations by frame headers
// alone; it replays what the machine lacks and what is known to be committed, one bounded batch at a time; and it tells
// Raft that there is a snapshot at that index. In a group of one voter, the voter's whole log is committed, so nothing is
// left for Raft to read, and the time to start depends on what the machine lacks, not on the bytes stored. It also keeps
// clear of a hang of v1.8.0, whose NewRaft feeds a channel of 128 slots before it starts the reader when more than
// 128 × MaxAppendEntries committed entries follow the snapshot.
//
// A sole voter does not wait for an election timeout. It is sent TimeoutNow, the message that ends a leadership transfer,
// and leads within the time of a few syncs; the timeouts proper are 1 s, so an idle group costs two wake-ups a second.
//
// # Files
//
// The folder raft/ has, for each partition, a vote file (term and vote, votefile.go) and snapshots (snapshot.go). A
// snapshot is a manifest (manifest.go): index, term and configuration, the chain over all entries up to the index, and the
// log's sealed segments with their hashes. It has no message in it, and no state: that is the index's and the log's.
//
// What a manifest covers is compared by chain, which is equal on all replicas, and never by file: with the log at start, so
// that a folder from another time or place is noticed (ErrForked), and with a leader's when one comes. The files that it
// lists are for whoever fetches them.
//
// # What it does not do
//
// It opens no socket yet: Options.Transport is a seam for clusters and for tests. It does not repair, place, or change
// members. A follower that is behind the log's front is not fed by snapshots: it stops with ErrNeedsBootstrap.
//
// Start with group.go, then recover.go, logstore.go and propose.go.
package replication
