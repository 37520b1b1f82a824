package vfs

import "io"

// FS is a file system. Its methods may be called at once from many goroutines. Errors name the operation and the file,
// and wrap the cause: errors.Is works with io/fs's sentinels and with syscall.Errno values.
type FS interface {
	// Create makes a file that must not exist yet and opens it for reading and writing. The name is durable after
	// SyncDir of its directory.
	Create(name string) (File, error)
	// Open opens a file for reading.
	Open(name string) (File, error)
	// OpenReadWrite opens an existing file for reading and writing.
	OpenReadWrite(name string) (File, error)
	// MkdirAll makes a directory and its missing parents. Each is durable after SyncDir of its own parent; see
	// MkdirAllSync.
	MkdirAll(dir string) error
	// Remove unlinks a file or removes an empty directory. Open handles and mappings go on working.
	Remove(name string) error
	// Rename gives a file a new name and replaces a file that has it.
	Rename(oldName, newName string) error
	// List returns the names in a directory, without their path, sorted.
	List(dir string) ([]string, error)
	// Stat describes a file or directory.
	Stat(name string) (Info, error)
	// SyncDir makes the entries of a directory durable.
	SyncDir(dir string) error
	// Lock takes the exclusive advisory lock of a file, which it makes when missing, and holds it until Close. It does
	// not wait: ErrLocked is returned when another handle holds the lock. The lock ends with the process; the file
	// stays.
	Lock(name string) (io.Closer, error)
	// Usage tells how full the file system that holds dir is.
	Usage(dir string) (Usage, error)
}

// Info describes a file or a directory.
type Info struct {
	Name      string // The last element of the path.
	SizeBytes int64  // Of a file; of a directory it means nothing.
	IsDir     bool
}

// Usage tells how full a file system is.
type Usage struct {
	TotalBytes     int64
	AvailableBytes int64 // What this process may still use; without the reserve of the superuser.
}

// File is an open file. Its methods may be called at once from many goroutines; writes to overlapping ranges need an
// order given by the caller. Offsets are absolute: there is no file position.
type File interface {
	io.Closer
	// ReadAt reads len(p) bytes at off, or returns the number read and an error, which is io.EOF at the file's end.
	ReadAt(p []byte, off int64) (int, error)
	// WriteAt writes p at off and lets the file grow. It is visible to readers and mappings on return, and durable
	// after SyncData.
	WriteAt(p []byte, off int64) (int, error)
	// WriteVecAt writes the buffers one after the other at off, without joining them first. It neither keeps nor
	// changes bufs, and it allocates nothing once warm. On error, the number of bytes written may be anything up to
	// the total.
	WriteVecAt(bufs [][]byte, off int64) (int64, error)
	// Preallocate lets the file grow to sizeBytes and takes the blocks for it, by fallocate where there is that, else by
	// writing zeros, so that after a following Sync no write into it meets a full disk. The new part reads as zeros; what
	// the file holds already is kept. A full disk is an error here; after an error the file is of no use and should be
	// removed.
	Preallocate(sizeBytes int64) error
	// SyncData makes the written bytes and the size durable. See the package comment about its failure.
	SyncData() error
	// FlushRange writes what is dirty in the range to the disk and waits for it. Nothing is durable by it, and nothing
	// may rely on it: it takes work off the next SyncData. Its failure is as final as that of SyncData. Where the system
	// has no call for it, it does nothing.
	FlushRange(off, n int64) error
	// Sync is SyncData for all metadata as well. It does not make the file's name durable.
	Sync() error
	// Size is the length of the file in bytes.
	Size() (int64, error)
	// DropCache asks that following reads come from the disk and not from the operating system's cache. It is advice:
	// mapped and unsynced pages stay.
	DropCache() error
	// Map maps the first sizeBytes bytes for reading. The file must be that long already (ErrBeyondEnd). The mapping
	// outlives the file's Close and Remove.
	Map(sizeBytes int64) (Mapping, error)
	// Name is the name that the file was opened with.
	Name() string
}

// Mapping is a range of a file mapped into memory for reading.
type Mapping interface {
	// Bytes is the mapped memory, nil after Close. It must not be written to, and must not be touched after Close:
	// whoever hands it out keeps the mapping open until the last reader is done.
	Bytes() []byte
	// Populate reads the range from disk into memory. It makes an I/O error an error where touching the bytes would
	// be a SIGBUS. Where the kernel lacks the call (linux before 5.14, darwin) it does nothing and returns nil.
	Populate(off, n int64) error
	// Close unmaps. A second Close does nothing.
	Close() error
}
