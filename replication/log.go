package replication

import (
	"leat.dev/leat/segment"
	"leat.dev/leat/segment/record"
)

// LogEntry is one entry of the log.
type LogEntry = segment.Entry

// Log is the partition's segment log as Raft needs it; *segment.Log has it. Append and TruncateSuffix are called by one goroutine at a time,
// the others at once with them.
type Log interface {
	// Append adds entries, which continue the log without a gap. They are durable on return. After an error that is
	// segment.ErrPoisoned it is not known which of them are there, and every later call fails. After any other error the
	// log is as it was; segment.ErrNoSpace is one.
	Append(entries []LogEntry) error
	// First is the index of the oldest entry; Last()+1 when there is none.
	First() uint64
	// Last is index and term of the newest durable entry; of the one before First when there is none.
	Last() (index, term uint64)
	// Base is the entry before First, which is not there any more; zero when the log begins with entry 1.
	Base() segment.Tip
	// Entry reads an entry, into buf if it is large enough. The payload is verified.
	Entry(index uint64, buf []byte) (LogEntry, []byte, error)
	// Header reads the header of an entry, without its payload.
	Header(index uint64) (record.FrameHeader, error)
	// Segments lists the segments that hold the log, oldest first: those that are sealed, with their hashes, and then the
	// others. It reads no file.
	Segments() []segment.Info
	// TruncateSuffix removes the entries from an index on, durably on return.
	TruncateSuffix(from uint64) error
	// PayloadBytesMax is the size of the largest payload that an entry can have.
	PayloadBytesMax() int
}

// Entry is a committed data entry on its way to the machine.
type Entry struct {
	Index   uint64
	Term    uint64
	Time    int64  // leader's time, ns since 1970; 0 unknown
	Payload []byte // valid during the call
}

// Machine is the partition's state machine. The group calls one method at a time save for Applied, which may be called
// at once with the others, and for Lead and Follow, which may run while Apply does.
type Machine interface {
	// Apply takes committed data entries in log order. An entry comes once, or again after a restart, and then only when
	// it is above Applied.
	Apply(entries []Entry)
	// Applied is the index of the last entry that Apply took; after a restart, of the last one that the machine still
	// knows of.
	Applied() uint64
	// Lead tells that this node leads in a term and that everything before is applied: proposing may start.
	Lead(term uint64)
	// Follow tells that it does not lead any more. Proposals may still come back.
	Follow()
}
