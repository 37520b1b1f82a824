// Package record encodes what a segment holds: records, the batches that carry
// them, and the frames that carry batches. It is pure: bytes in, bytes out.
//
// A record is one message: key, subject, headers, producer's time, value, all
// but the value optional. Its offset and time are not stored with it; they are
// the batch's base offset plus its place in the batch, and the batch's time.
//
// A batch is records of one channel that were appended together, or one command
// to the partition's state machine. It is the unit of checksum, compression,
// index and cost. A [Builder] makes it with one copy of each record: room for
// the header is left at the front of its buffer, and [Stamp] fills in what is
// known only later (channel id, base offset, time).
//
// A frame is one entry of the Raft log: a header and a payload. The payload of a
// data frame is one or more batches back to back; that of a Raft configuration
// is opaque here.
//
// All integers are little-endian. Lengths are checked against the bytes at hand
// before anything is allocated. Invariants that a reader may rely on after
// Verify returned nil are stated at [Batch] and [FrameHeader]. The boxes are at
// the constants in record.go, batch.go and frame.go; FORMAT.md of package
// segment shows them together with the files they lie in.
package record
