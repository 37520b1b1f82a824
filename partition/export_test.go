package partition

import "leat.dev/leat/segment/record"

// QueueBytesMax and LeaderWait are limits that tests go up to.
const (
	QueueBytesMax = queueBytesMax
	LeaderWait    = leaderWait
)

// FreshNames counts names that were asked for and are not live.
func (p *Partition) FreshNames() int {
	p.names.mu.RLock()
	defer p.names.mu.RUnlock()
	return len(p.names.fresh)
}

// QueueBytes is what waits to be proposed.
func (p *Partition) QueueBytes() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.queueBytes
}

// Indexed is the last segment whose extents are in the index.
func (p *Partition) Indexed() record.SegmentID { return record.SegmentID(p.indexed.Load()) }

// Check compares watermarks.
func (w Watermarks) Check() error { return w.check() }
