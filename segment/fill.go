package segment

import (
	"fmt"
	"math"
	"sync"
	"time"

	"leat.dev/leat/segment/vfs"
)

// filler writes zeros ahead of the appends of the active segment.
//
// Problem: a segment's blocks are reserved, not written. The first write into a
// reserved block makes its fdatasync wait for the file system's journal, which
// doubles it, and has the page cache find a page, which takes longer than
// copying into one that is there. Whoever publishes little at a time waits for
// both. Writing all of a segment beforehand would make each byte cost two
// writes, also when the disk is the bound.
//
// So zeros are written a few chunks ahead, by another goroutine, while appends
// are small, that is, while it is syncs and not bytes that take the time, and
// while the disk has time to spare: when filling takes nearly all of the time,
// the disk is the bound, and filling takes it from the appends.
//
// Invariants:
//
//   - A chunk begins on a page behind all that appends have announced, and an
//     append that reaches into the chunk under way waits for its end. So zeros
//     replace zeros only: the contents of a file never change by it, whatever is
//     lost in a power cut.
//   - Nothing relies on it. Zeros are not synced, and not remembered: after a
//     restart it begins at the end of the log.
//   - It has an open file of its own. A page that could not be written is told
//     once to each open file, so a flush through the appender's could be told of
//     an append's page, and the append's sync would then return nil.
//   - A failed flush is final, like a failed sync.
type filler struct {
	wake     chan struct{}
	aheadMax int64 // 0: it is off

	mu    sync.Mutex // taken after writeMu; nothing is taken under it
	over  sync.Cond  // on mu: the chunk under way is over
	path  string     // of the active segment; "" when there is none. Guarded by mu, as is what follows
	limit int64      // size of that file
	reach int64      // appends are announced up to here
	next  int64      // where the next chunk begins, unless appends got there first
	from  int64      // the chunk under way
	to    int64      // its end; 0 when there is none
	low   int64      // wake the goroutine when less than this is filled ahead; fillNever: do not

	// What is appended, for the pace.
	appended, appends         int64
	seen, seenAppends, seenAt int64 // at the last measurement
	chunk                     int64 // of the last measurement

	busy      time.Duration // writing zeros, since busySince
	busySince int64
	restUntil int64 // nothing is filled before
}

const (
	fillPageBytes  = 4 << 10
	fillPieceBytes = 128 << 10 // of one write, which an append's write may wait for
	fillChunkMin   = 128 << 10
	fillChunkMax   = 1 << 20
	fillChunks     = 4 // ahead of the appends
	// fillAppendMax is the mean size of an append from which on nothing is
	// filled: such a one takes longer for its bytes than for its sync. With
	// 384 KiB, blocks of 256 KiB were stored 0.97 to 1.15 times as fast, with
	// 640 KiB nats.go's publishes 0.84 to 0.92 times.
	fillAppendMax = 192 << 10
	// fillWindow is how long appends are watched before the pace is changed.
	fillWindow = 10 * time.Millisecond
	// fillSpacing is how much of the appends' time there is to a chunk: the
	// longer, the fewer appends meet one.
	fillSpacing = 20 * time.Millisecond
	fillNever   = math.MinInt64
	// When writing zeros took more than fillBusyMax of fillBusyWindow, nothing is
	// filled for fillRest.
	fillBusyMax    = 90 // percent
	fillBusyWindow = 100 * time.Millisecond
	fillRest       = time.Second
)

var fillZeros [fillPieceBytes]byte // read only

// fillPace is how much to fill at a time, given what was appended since the
// last measurement; 0 is nothing.
func fillPace(appended, appends int64, elapsed time.Duration) int64 {
	if appends > 0 && appended/appends > fillAppendMax {
		return 0
	}
	if elapsed <= 0 {
		return fillChunkMin
	}
	inSpacing := int64(float64(appended) * float64(fillSpacing) / float64(elapsed))
	return min(max(inSpacing, fillChunkMin), fillChunkMax) / fillPageBytes * fillPageBytes
}

func (f *filler) init(aheadMax int64) {
	f.aheadMax = max(aheadMax, 0)
	f.over.L = &f.mu
	f.wake = make(chan struct{}, 1)
}

// enter makes s the segment to fill, which has entries up to pos. The caller
// holds writeMu.
func (f *filler) enter(s *segment, pos uint32) {
	f.leave()
	f.mu.Lock()
	f.path, f.limit = s.path, int64(s.fileBytes)
	f.reach, f.next = int64(pos), 0
	f.mu.Unlock()
	f.signal()
}

// leave ends the filling of a segment that will not be appended to any more.
// On return nothing is written to it by the filler. The caller holds writeMu,
// or is the filler itself.
func (f *filler) leave() {
	f.mu.Lock()
	f.path = ""
	f.awaitLocked(0)
	f.mu.Unlock()
	f.signal() // the file is let go
}

// announce is called before the active segment is written up to end. It waits
// for a chunk that is in the way. The caller holds writeMu.
func (f *filler) announce(end uint32) (waited bool) {
	f.mu.Lock()
	if f.path == "" {
		f.mu.Unlock()
		return false
	}
	waited = f.awaitLocked(int64(end))
	f.appended += int64(end) - f.reach
	f.appends++
	f.reach = int64(end)
	wanted := f.next-f.reach < f.low
	f.mu.Unlock()
	if wanted {
		f.signal()
	}
	return waited
}

// awaitLocked waits for the chunk under way, if it begins below end or end is 0.
func (f *filler) awaitLocked(end int64) (waited bool) {
	for f.to > 0 && (end == 0 || f.from < end) {
		waited = true
		f.over.Wait()
	}
	return waited
}

func (f *filler) signal() {
	select {
	case f.wake <- struct{}{}:
	default:
	}
}

// claimed is what the goroutine is to do.
type claimed struct {
	path    string // of the active segment; "" when there is none
	from, n int64  // the chunk that it has to write; n is 0 when enough is filled
	rest    bool   // look again later
}

// claim takes the next chunk. When there is none, low is set so that an append
// tells when there is.
func (f *filler) claim(now int64) claimed {
	f.mu.Lock()
	defer f.mu.Unlock()
	c := claimed{path: f.path}
	if f.path == "" {
		return c
	}
	if elapsed := time.Duration(now - f.seenAt); f.chunk == 0 || elapsed >= fillWindow || elapsed < 0 {
		f.chunk = fillPace(f.appended-f.seen, f.appends-f.seenAppends, elapsed)
		f.seen, f.seenAppends, f.seenAt = f.appended, f.appends, now
	}
	f.low = fillNever
	if f.chunk == 0 || f.resting(now) {
		c.rest = true
		return c
	}
	ahead := min(fillChunks*f.chunk, f.aheadMax)
	if f.next <= f.reach {
		// Appends are faster, or it is a new segment: begin so far ahead that the
		// chunk is written before they are there.
		f.next = (f.reach + f.chunk/4 + fillPageBytes - 1) / fillPageBytes * fillPageBytes
	}
	n := min(f.chunk, f.limit-f.next)
	if n <= 0 {
		return c
	}
	f.low = ahead - f.chunk
	if f.next-f.reach >= ahead {
		return c
	}
	f.from, f.to = f.next, f.next+n
	c.from, c.n = f.from, n
	return c
}

// resting tells whether the disk is left to the appends. The caller holds mu.
func (f *filler) resting(now int64) bool {
	elapsed := time.Duration(now - f.busySince)
	if elapsed >= fillBusyWindow || elapsed < 0 {
		if elapsed > 0 && f.busy > elapsed/100*fillBusyMax {
			f.restUntil = now + int64(fillRest)
		}
		f.busy, f.busySince = 0, now
	}
	return now < f.restUntil && f.restUntil-now <= int64(fillRest)
}

// done ends the chunk under way, which took that long.
func (f *filler) done(took time.Duration) {
	f.mu.Lock()
	f.busy += took
	f.next = f.to
	f.from, f.to = 0, 0
	f.over.Broadcast()
	f.mu.Unlock()
}

// fillLoop fills ahead of the appends. It is started by Open and ended by Close.
func (l *Log) fillLoop() {
	defer l.loops.Done()
	f := &l.fill
	pause := time.NewTimer(fillSpacing)
	pause.Stop()
	defer pause.Stop()
	var own fillFile
	defer func() { l.unfilled(own.change(l.o.FS, "")) }()
	for {
		select {
		case <-l.quit:
			return
		case <-f.wake:
		case <-pause.C:
		}
		for l.Poisoned() == nil {
			c := f.claim(l.o.Now())
			if c.rest {
				pause.Reset(fillSpacing)
			}
			if c.n == 0 {
				if c.path != own.path {
					l.unfilled(own.change(l.o.FS, ""))
				}
				break
			}
			if !l.fillChunk(&own, c) {
				break
			}
		}
	}
}

// fillChunk writes the chunk that was claimed. It returns false when the segment
// is not filled any further.
func (l *Log) fillChunk(own *fillFile, c claimed) bool {
	f := &l.fill
	if err := own.change(l.o.FS, c.path); err != nil {
		f.done(0)
		f.leave()
		l.unfilled(err)
		return false
	}
	start := l.o.Now()
	err := fillRange(own.file, c.from, c.n)
	if err != nil && !isNoSpace(err) {
		// Before the appends that wait for the chunk go on.
		_ = l.poison(fmt.Errorf("fill ahead from %d on: %w", c.from, err))
	}
	f.done(time.Duration(l.o.Now() - start))
	if err != nil {
		f.leave() // without room for them, zeros can be done without
		return false
	}
	l.metrics.filledBytes.Add(float64(c.n))
	return true
}

// unfilled reports that a segment can't be filled. Its appends take longer.
func (l *Log) unfilled(err error) {
	if err != nil {
		l.o.Logger.Warn("fill a segment ahead of its appends", "partition", l.o.Partition, "err", err)
	}
}

// fillFile is the filler's open file.
type fillFile struct {
	path string // "" when there is none
	file vfs.File
}

// change opens another file instead; none if path is "".
func (o *fillFile) change(fsys vfs.FS, path string) (err error) {
	if path == o.path {
		return nil
	}
	if o.file != nil {
		err = o.file.Close()
	}
	o.path, o.file = "", nil
	if path == "" || err != nil {
		return err
	}
	if o.file, err = fsys.OpenReadWrite(path); err != nil {
		o.file = nil
		return err
	}
	o.path = path
	return nil
}

// fillRange writes zeros and brings them to the disk, so that no append's sync
// has to.
func fillRange(file vfs.File, from, n int64) error {
	for at := from; at < from+n; at += fillPieceBytes {
		if _, err := file.WriteAt(fillZeros[:min(fillPieceBytes, from+n-at)], at); err != nil {
			return err
		}
	}
	return file.FlushRange(from, n)
}
