// Package cursor is the place of a durable consumer in one channel: a pure
// value with a codec.
//
// A Cursor says what the consumer has acknowledged and what it has been sent:
//
//   - the floor: every offset up to and including it is acknowledged, or gone;
//   - acknowledged ranges above the floor, for acknowledgements out of order;
//   - lastSent, the highest offset that was ever sent;
//   - how often an offset was sent again, for those that were and are not
//     acknowledged.
//
// What is unacknowledged is what lies in (floor, lastSent] outside the ranges:
// the pending offsets. They are owed to the consumer again after a crash.
//
// # Invariants
//
//   - floor ≤ lastSent, and both only grow.
//   - floor+1 is never acknowledged: otherwise the floor would have moved.
//   - Ranges are disjoint, do not touch, and lie in (floor+1, lastSent].
//   - Redelivery counts exist for pending offsets only.
//
// # Logging
//
// Acknowledgements are state, not entries: the owner logs AppendDelta from time
// to time, and a replica that applies every delta in order holds an equal
// cursor. What was not logged when a node crashed is sent again; nothing is
// lost, since a floor is never logged before the acknowledgements below it.
//
// # What it does not do
//
// It knows no members, no time and no limits (package delivery does), and it
// guards against torn bytes no further than refusing what is malformed: the log
// that carries it has checksums. It is not safe for concurrent use.
//
// Start with cursor.go; spans.go is the set of ranges; format.go the bytes.
package cursor
