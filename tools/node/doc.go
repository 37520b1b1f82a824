// Package node composes a storage node out of the layers: it is what
// `leat serve` runs, and what tests and benchmarks run without a program
// around it.
//
// The introductions are made here and nowhere else: the segment log and the
// index are given to a partition, the partition to a Raft group, all partitions
// as a set to the front-ends, and the router as a bus to them too. No layer
// knows the one above it.
//
// A data directory holds:
//
//	NODE             who this is: format version, node, cluster, number of partitions
//	LOCK             held by the process that uses the directory
//	raft/            Raft's term, vote and snapshots: small, synced, never rebuilt
//	index/           Pebble; rebuilt from the segments when it is lost or damaged
//	partition-NNNN/  segments and their manifest
//
// Segments leave a reserve on the disk (reserve.go), so that a full one refuses
// publishes and does not stop the index. An index that is damaged is made anew; one
// that cannot be written any more is told by health and made good by the next start.
//
// Start with [Open], in node.go; storage.go opens what is on disk.
package node
