package segment

import (
	"errors"
	"fmt"
	"slices"
	"sort"
	"sync"
	"sync/atomic"
	"syscall"

	"leat.dev/leat/segment/record"
)

// Entry is one Raft entry.
type Entry struct {
	Index, Term uint64
	Type        record.FrameType
	Time        int64  // leader's time, ns since 1970; 0 unknown
	CommitHint  uint64 // Raft index known committed; 0 unknown
	Payload     []byte // batches back to back when Type is FrameData, else opaque
}

// Log is one partition's log. Changes (Append, Roll, TruncateSuffix,
// TruncatePrefix, Reset) go one at a time; all other methods may be called at
// any time by anyone.
type Log struct {
	o        Options
	metrics  *metrics
	recovery Recovery
	poisoned atomic.Pointer[error]

	// writeMu is held by whoever writes to the active segment. It guards the
	// fields of the appender.
	writeMu sync.Mutex
	app     appender
	fill    filler

	// fileMu is held by whoever makes, seals or removes files, or writes the
	// manifest. It guards the fields below. Taken after writeMu.
	fileMu      sync.Mutex
	manifest    *manifest
	generation  uint64                    // last one tried
	generations []uint64                  // on disk
	removed     map[record.SegmentID]bool // retired files that are gone, to be unlisted
	sealed      []Info                    // to be told to OnSeal

	// mu guards what readers see. Taken after fileMu, never held over I/O.
	mu       sync.RWMutex
	closed   bool
	base     Tip
	last     Tip
	segments []*segment // by id: sealed and full ones, then the active one if there is one
	active   *segment   // nil until the next append makes one
	prepared []*segment // for the next rolls
	retired  []*segment // waiting for their last lease
	clock    uint64     // counts acquisitions
	released int        // sealed segments that nobody read any more, since trimMapped

	wake  chan struct{} // to maintainLoop
	dirty chan struct{} // to markLoop
	quit  chan struct{}
	loops sync.WaitGroup
}

// First is the index of the first entry; Last()+1 when there is none.
func (l *Log) First() uint64 {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.base.Index + 1
}

// Last is index and term of the last durable entry; of the entry before First
// when there is none.
func (l *Log) Last() (index, term uint64) {
	t := l.Tip()
	return t.Index, t.Term
}

// Tip is Last with its chain.
func (l *Log) Tip() Tip {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.last
}

// Base is the entry before First, which is not there any more (or the zero
// Tip).
func (l *Log) Base() Tip {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.base
}

// Recovery says what Open found.
func (l *Log) Recovery() Recovery { return l.recovery }

// PayloadBytesMax is the size of the largest payload that Append takes whatever
// it is made of.
func (l *Log) PayloadBytesMax() int { return payloadBytesMax(l.o.SegmentBytes) }

// Segments lists the segments that hold the log, oldest first.
func (l *Log) Segments() []Info {
	l.mu.RLock()
	defer l.mu.RUnlock()
	infos := make([]Info, len(l.segments))
	for i, s := range l.segments {
		infos[i] = s.info()
	}
	return infos
}

// Poisoned is nil, or the error that every change returns from now on.
func (l *Log) Poisoned() error {
	if err := l.poisoned.Load(); err != nil {
		return *err
	}
	return nil
}

// poison makes cause final, and returns what every later change will return.
func (l *Log) poison(cause error) error {
	err := fmt.Errorf("partition %d: %w: %w", l.o.Partition, ErrPoisoned, cause)
	if l.poisoned.CompareAndSwap(nil, &err) {
		l.metrics.poisoned.Inc()
	}
	return l.Poisoned()
}

// writable says why there can be no change. The caller holds writeMu.
func (l *Log) writable() error {
	if l.isClosed() {
		return ErrClosed
	}
	return l.Poisoned()
}

func (l *Log) isClosed() bool {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.closed
}

// find returns the segment that holds an entry, nil when there is none. The
// caller holds mu.
func (l *Log) find(index uint64) *segment {
	if index <= l.base.Index || index > l.last.Index {
		return nil
	}
	i := sort.Search(len(l.segments), func(i int) bool { return l.segments[i].last.Index >= index })
	if i == len(l.segments) || l.segments[i].first() > index {
		return nil
	}
	return l.segments[i]
}

// Close writes and syncs a marker, ends the log's goroutines, and closes its
// files. What is under lease stays mapped until it is released. A second Close
// does nothing.
func (l *Log) Close() error {
	l.writeMu.Lock()
	if l.isClosed() {
		l.writeMu.Unlock()
		return nil
	}
	var err error
	if l.Poisoned() == nil {
		err = l.writeMarker(true)
	}
	if l.Poisoned() != nil {
		defer l.metrics.poisoned.Dec()
	}
	l.mu.Lock()
	l.closed = true
	l.mu.Unlock()
	l.writeMu.Unlock()
	close(l.quit)
	l.loops.Wait()

	l.mu.Lock()
	defer l.mu.Unlock()
	for _, s := range slices.Concat(l.segments, l.prepared, l.retired) {
		err = errors.Join(err, l.closeSegment(s))
	}
	return err
}

// closeSegment gives a segment's file back, and its mapping unless it is under
// lease. The caller holds mu.
func (l *Log) closeSegment(s *segment) (err error) {
	if s.file != nil {
		err = s.file.Close()
		s.file = nil
	}
	if s.leases == 0 && s.mapping != nil {
		err = errors.Join(err, s.mapping.Close())
		s.mapping, s.foot = nil, nil
	}
	return err
}

// isExhausted tells of a shortage that is not the disk's, and passes.
func isExhausted(err error) bool {
	return errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE) || errors.Is(err, syscall.ENOMEM)
}

func isNoSpace(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}
