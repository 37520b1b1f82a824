package vfs

// Op names a method of FS, File, Mapping or of a lock.
type Op uint8

// The operations that a Fault knows.
const (
	OpAny Op = iota // In a Rule: every operation.

	OpCreate
	OpOpen
	OpOpenReadWrite
	OpMkdirAll
	OpRemove
	OpRename
	OpList
	OpStat
	OpSyncDir
	OpLock
	OpUnlock
	OpUsage

	OpClose
	OpReadAt
	OpWriteAt
	OpWriteVecAt
	OpPreallocate
	OpSyncData
	OpFlushRange
	OpSync
	OpSize
	OpDropCache
	OpMap

	OpPopulate
	OpUnmap

	opCount
)

var opNames = [opCount]string{
	OpAny: "any", OpCreate: "create", OpOpen: "open", OpOpenReadWrite: "open-rw", OpMkdirAll: "mkdir-all",
	OpRemove: "remove", OpRename: "rename", OpList: "list", OpStat: "stat", OpSyncDir: "sync-dir", OpLock: "lock",
	OpUnlock: "unlock", OpUsage: "usage", OpClose: "close", OpReadAt: "read-at", OpWriteAt: "write-at",
	OpWriteVecAt: "write-vec-at", OpPreallocate: "preallocate", OpSyncData: "sync-data", OpFlushRange: "flush-range", OpSync: "sync",
	OpSize: "size", OpDropCache: "drop-cache", OpMap: "map", OpPopulate: "populate", OpUnmap: "unmap",
}

func (op Op) String() string {
	if op < opCount {
		return opNames[op]
	}
	return "unknown"
}

// Ops lists all operations, for tests that go through every one.
func Ops() []Op {
	ops := make([]Op, 0, opCount-1)
	for op := OpAny + 1; op < opCount; op++ {
		ops = append(ops, op)
	}
	return ops
}
