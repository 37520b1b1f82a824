package vfs

import (
	"maps"
	"math/rand/v2"
	"slices"
)

// CrashOptions says how much of what was not synced a power cut leaves.
type CrashOptions struct {
	// UnsyncedShare is the probability, from 0 to 1, that a thing not synced survives. 0, the default, leaves exactly
	// what was synced; 1 leaves everything, which is what kill -9 of a process does.
	UnsyncedShare float64
	// TearBytes is the size of the sectors inside a 4 KiB block that survive independently of each other in half of
	// the blocks; usually 512, which the package comment allows the engine to rely on. 0, the default, never tears a
	// block.
	TearBytes int
	// Rand decides. The same Rand on the same history gives the same clone. Default: one with a fixed seed.
	Rand *rand.Rand
}

// CrashClone returns what would be found after a power cut at this instant, as a file system of its own, without
// locks. The original goes on, with its open handles, and may be in use meanwhile by other goroutines.
//
// The model:
//
//   - Data. What was written before the last successful SyncData or Sync of its file is there. Of each 4 KiB block
//     that was written since, either the newest or the synced contents are there, or, with TearBytes, a mix of sectors
//     of both; every block for itself. Contents that a block had in between are not modelled. Blocks that a failed
//     sync lost (Rule.LoseDirty) count as unsynced for good.
//   - Size. A size that grew since the last sync is there or not, or, now and then, ends at some block between. If the
//     size is there and the data is not, the bytes are zeros. Data behind the size is cut.
//   - Names. What a directory held at its last SyncDir is there. Each create, mkdir, rename and remove since is there
//     or not, every one for itself and not only as a prefix; those that are there take effect in the order in which
//     they were made. A name stands for one file, and a file has one name in a directory: a rename that is lost leaves
//     the old name and what the new name stood for; a rename that survives while the create before it is lost leaves
//     the new name. A rename between directories never leaves the file in neither, and may leave it in both. What is
//     in a directory whose own entry is lost is lost with it.
//
// Nothing is ordered between files, nor between data and names.
func (m *MemFS) CrashClone(opts CrashOptions) *MemFS {
	rng := opts.Rand
	if rng == nil {
		rng = rand.New(rand.NewPCG(1, 2))
	}
	c := &crash{share: opts.UnsyncedShare, tearBytes: opts.TearBytes, rng: rng, clones: map[*memNode]*memNode{}}

	m.mu.Lock()
	defer m.mu.Unlock()
	c.decided = map[*entryOp]bool{}
	clone := &MemFS{root: c.node(m.root)}
	clone.root.links = 1
	clone.capacityBytes.Store(m.capacityBytes.Load())
	for _, node := range c.clones {
		node.chargedBytes = (int64(len(node.data)) + blockBytes - 1) / blockBytes * blockBytes
		clone.usedBytes.Add(node.chargedBytes)
	}
	return clone
}

// crash is one power cut. It visits everything in a fixed order, for the sake of the same outcome for the same Rand.
type crash struct {
	share     float64
	tearBytes int
	rng       *rand.Rand
	clones    map[*memNode]*memNode // By original; a file may be met under two names.
	decided   map[*entryOp]bool
}

func (c *crash) survives() bool { return c.rng.Float64() < c.share }

func (c *crash) node(n *memNode) *memNode {
	if clone, ok := c.clones[n]; ok {
		return clone
	}
	if !n.isDir() {
		clone := newFile()
		clone.data = c.image(n)
		clone.durableBytes = int64(len(clone.data))
		c.clones[n] = clone
		return clone
	}
	clone := newDir()
	c.clones[n] = clone
	left := c.entries(n)
	for _, name := range slices.Sorted(maps.Keys(left)) {
		child := c.node(left[name])
		child.links++
		clone.entries[name] = child
	}
	clone.durable = maps.Clone(clone.entries)
	return clone
}

// entries are what is left of a directory.
func (c *crash) entries(n *memNode) map[string]*memNode {
	left := maps.Clone(n.durable)
	for _, op := range n.pending {
		if c.opSurvives(op) {
			op.apply(left)
		}
	}
	return left
}

func (c *crash) opSurvives(op *entryOp) bool {
	if op.durable {
		return false // Already in the durable entries.
	}
	survives, ok := c.decided[op]
	if !ok {
		survives = c.survives()
		if op.arrival != nil {
			survives = survives && (op.arrival.durable || c.opSurvives(op.arrival))
		}
		c.decided[op] = survives
	}
	return survives
}

// image is what is left of a file's data.
func (c *crash) image(n *memNode) []byte {
	n.mu.RLock()
	defer n.mu.RUnlock()
	image := make([]byte, c.size(n))
	copy(image, n.data)
	for _, block := range slices.Sorted(maps.Keys(n.dirty)) {
		c.block(image, block, n.dirty[block])
	}
	for _, block := range slices.Sorted(maps.Keys(n.lost)) {
		c.block(image, block, n.lost[block])
	}
	return image
}

func (c *crash) size(n *memNode) int64 {
	size := int64(len(n.data))
	if size == n.durableBytes || c.survives() {
		return size
	}
	if !c.survives() {
		return n.durableBytes
	}
	first, last := n.durableBytes/blockBytes, size/blockBytes
	return max(n.durableBytes, (first+c.rng.Int64N(last-first+1))*blockBytes)
}

func (c *crash) block(image []byte, block int64, onDisk []byte) {
	if c.tearBytes <= 0 || c.rng.IntN(2) == 0 {
		if !c.survives() {
			revert(image, block, 0, blockBytes, onDisk)
		}
		return
	}
	for lo := 0; lo < blockBytes; lo += c.tearBytes {
		if !c.survives() {
			revert(image, block, lo, min(lo+c.tearBytes, blockBytes), onDisk)
		}
	}
}
