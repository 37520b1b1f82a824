package vfs

import (
	"maps"
	"sync"
	"syscall"
	"unsafe"
)

// blockBytes is the unit in which a power cut keeps or loses data, and in which space is counted.
const blockBytes = 4096

// memNode is a file or a directory of a MemFS.
type memNode struct {
	// Of a directory, guarded by MemFS.mu. entries is nil in a file.
	entries map[string]*memNode // As seen now.
	durable map[string]*memNode // As a power cut would leave it, without any of pending.
	pending []*entryOp          // What came after, oldest first.

	// Guarded by MemFS.mu, held exclusively.
	links   int // Names in the present tree.
	handles int // Open files, mappings and locks.
	locked  bool

	// mu guards the data of a file, together with MemFS.mu held shared; mu alone is not enough.
	mu sync.RWMutex
	// data is the contents; its length is the size. The bytes between length and capacity are zero, as files never
	// shrink.
	data         []byte
	chargedBytes int64 // Taken from the capacity of the file system.
	durableBytes int64 // The size at the last sync.
	// dirty has each block that was written since the last sync, as it was then; nil stands for zeros.
	dirty map[int64][]byte
	// lost has the blocks that a failed sync marked clean without writing them, as they are on disk. A later sync does
	// not make them durable; writing them again makes them dirty again.
	lost map[int64][]byte
	// mappings are those open now. See copyToMappings.
	mappings map[*memMapping]struct{}
}

func newDir() *memNode {
	return &memNode{entries: map[string]*memNode{}, durable: map[string]*memNode{}}
}

func newFile() *memNode {
	return &memNode{dirty: map[int64][]byte{}, lost: map[int64][]byte{}, mappings: map[*memMapping]struct{}{}}
}

func (n *memNode) isDir() bool { return n.entries != nil }

func (n *memNode) size() int64 {
	n.mu.RLock()
	defer n.mu.RUnlock()
	return int64(len(n.data))
}

// write copies the buffers straight into the storage, so that a mapping shows them and the race detector sees the
// very bytes that a reader of the mapping touches.
func (n *memNode) write(m *MemFS, bufs [][]byte, off int64) (int64, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if off < 0 {
		return 0, syscall.EINVAL
	}
	var total int64
	for _, buf := range bufs {
		total += int64(len(buf))
	}
	if total == 0 {
		return 0, nil
	}
	end := off + total
	n.markDirty(min(off, int64(len(n.data))), end)
	if err := n.grow(m, end); err != nil {
		return 0, err
	}
	at := off
	for _, buf := range bufs {
		at += int64(copy(n.data[at:], buf))
	}
	n.copyToMappings(off, end)
	return total, nil
}

// preallocate grows the file with zeros and gives it storage that does not move until it grows further.
func (n *memNode) preallocate(m *MemFS, sizeBytes int64) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if have := int64(len(n.data)); sizeBytes > have {
		n.markDirty(have, sizeBytes)
		return n.grow(m, sizeBytes)
	}
	return nil
}

// grow lets the size be at least sizeBytes.
func (n *memNode) grow(m *MemFS, sizeBytes int64) error {
	if sizeBytes <= int64(len(n.data)) {
		return nil
	}
	charge := (sizeBytes+blockBytes-1)/blockBytes*blockBytes - n.chargedBytes
	if charge > 0 {
		if err := m.charge(charge); err != nil {
			return err
		}
		n.chargedBytes += charge
	}
	if sizeBytes <= int64(cap(n.data)) {
		n.data = n.data[:sizeBytes]
		return nil
	}
	// The first growth is exact, so that a preallocated file takes no more than it needs.
	newCap := sizeBytes
	if len(n.data) > 0 {
		newCap = max(sizeBytes, 2*int64(cap(n.data)))
	}
	data := make([]byte, sizeBytes, newCap)
	copy(data, n.data)
	n.data = data
	return nil
}

// copyToMappings keeps mappings of storage that the file has outgrown equal to the file. A mapping of a file that was
// preallocated to its final size shares the file's storage, and nothing is copied.
func (n *memNode) copyToMappings(off, end int64) {
	for mapping := range n.mappings {
		if unsafe.SliceData(mapping.data) != unsafe.SliceData(n.data) && off < int64(len(mapping.data)) {
			copy(mapping.data[off:], n.data[off:end])
		}
	}
}

// markDirty keeps what the blocks of a range hold on disk, before they change.
func (n *memNode) markDirty(off, end int64) {
	for block := off / blockBytes; block*blockBytes < end; block++ {
		if _, ok := n.dirty[block]; ok {
			continue
		}
		if onDisk, ok := n.lost[block]; ok {
			n.dirty[block] = onDisk
			delete(n.lost, block)
			continue
		}
		var onDisk []byte
		if start := block * blockBytes; start < int64(len(n.data)) {
			onDisk = make([]byte, blockBytes)
			copy(onDisk, n.data[start:])
		}
		n.dirty[block] = onDisk
	}
}

// sync makes data and size durable.
func (n *memNode) sync() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.durableBytes = int64(len(n.data))
	n.forgetDirty()
}

// forgetDirty empties the map. Clearing costs by the most that a map ever held, so one that was large, after
// preallocation, is replaced.
func (n *memNode) forgetDirty() {
	if len(n.dirty) > 256 {
		n.dirty = map[int64][]byte{}
		return
	}
	clear(n.dirty)
}

// loseDirty is what a failed fsync does in a kernel: what was dirty counts as clean and is not on disk.
func (n *memNode) loseDirty() {
	n.mu.Lock()
	defer n.mu.Unlock()
	maps.Copy(n.lost, n.dirty)
	n.forgetDirty()
}

// dropCache shows what is on disk in place of blocks that a failed sync lost. Mapped pages stay in a real cache, and
// here.
func (n *memNode) dropCache() {
	n.mu.Lock()
	defer n.mu.Unlock()
	if len(n.mappings) > 0 {
		return
	}
	for block, onDisk := range n.lost {
		revert(n.data, block, 0, blockBytes, onDisk)
	}
	clear(n.lost)
}

// revert puts old bytes back: those from lo to hi of a block, as far as data reaches.
func revert(data []byte, block int64, lo, hi int, onDisk []byte) {
	start := int(block * blockBytes)
	if start+lo >= len(data) {
		return
	}
	dst := data[start+lo : min(start+hi, len(data))]
	if onDisk == nil {
		clear(dst)
		return
	}
	copy(dst, onDisk[lo:])
}
