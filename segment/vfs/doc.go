// Package vfs is the file system layer of the storage engine: the only door from the engine to files.
//
// Three file systems share one interface, FS:
//
//   - OS, the operating system's own (linux, darwin);
//   - MemFS, in memory, whose CrashClone gives what a power cut would leave behind;
//   - Fault, a wrapper around either that fails, shortens, skips or delays chosen operations.
//
// # What the engine may assume
//
// These are the system assumptions that everything above is built on, and the only ones. MemFS breaks everything else.
//
//   - Data is durable when SyncData or Sync of its file has returned nil, and not before. SyncData persists the
//     file's size as well, as fdatasync does.
//   - A directory entry (create, rename, remove, a new directory) is durable when SyncDir of its directory has
//     returned nil, and not before: syncing the file does not sync its name. A file renamed between two directories
//     needs SyncDir of both.
//   - Nothing orders one unsynced write before another, neither in one file nor between files or directories.
//   - Power-safe overwrite: a write that a power cut interrupts may leave any mix of old and new 512-byte sectors in
//     the range written, and never harms a byte outside of it.
//   - A rename inside one directory is atomic: after a power cut the file has its old name or its new name.
//   - A failed sync is final. Kernels mark the pages clean after a failed fsync, so that a second one returns nil
//     while the data is not on disk. After any error of a write or a sync the file must not be written again, and
//     what was not synced before counts as lost. A recovery scan calls DropCache first, for the same reason: the
//     cache may be newer than the disk.
//   - A full disk is an error of Preallocate. Writing inside a range that was preallocated and synced needs no further
//     block for data, so it does not fail for want of space on a file system that overwrites in place (what the first
//     write changes of the extents' state comes out of the file system's own reserve). Copy-on-write file systems break
//     this; there, a write may fail with ENOSPC, and is handled as any failed write.
//   - A write that fails or whose process is killed may have written any number of bytes from its front.
//   - Bytes of a Mapping show what WriteAt wrote as soon as it has returned. A page that cannot be read from disk is a
//     SIGBUS when touched and an error when populated: call Mapping.Populate on ranges that may be cold.
//
// # What it does not do
//
// There is no truncation: cutting a mapped file turns reads into SIGBUS, so the engine cuts logically. There are no
// stores through a mapping, because such a store cannot report ENOSPC or EIO. There is no retry of anything but EINTR.
//
// The race detector does not see memory mapped from the operating system. It does see a MemFS mapping, which is a
// slice of the heap that aliases the file's storage, so tests of mapped reads run on MemFS.
//
// Start with vfs.go (the interface), then mem_crash.go (the model of a power cut) and fault.go.
package vfs
