package segment

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"time"

	"github.com/cespare/xxhash/v2"

	"leat.dev/leat/segment/record"
	"leat.dev/leat/segment/vfs"
)

// retryDelay is how long maintainLoop waits after a failure that did not poison
// the log, a full disk for the most part.
const retryDelay = time.Second

// signal wakes maintainLoop.
func (l *Log) signal() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// signalAppended tells the loops of an append.
func (l *Log) signalAppended() {
	if l.o.MarkerDelay > 0 {
		select {
		case l.dirty <- struct{}{}:
		default:
		}
	}
	if s := l.active; s != nil && l.app.pos > s.fileBytes/2 {
		l.mu.RLock()
		wanted := len(l.prepared) == 0
		l.mu.RUnlock()
		if wanted {
			l.signal()
		}
	}
}

// markLoop writes a marker when the log has been idle for MarkerDelay. It is
// started by Open and ended by Close.
func (l *Log) markLoop() {
	defer l.loops.Done()
	for {
		select {
		case <-l.quit:
			return
		case <-l.dirty:
		}
		// Each further append starts the delay anew.
		for idle := false; !idle; {
			timer := time.NewTimer(l.o.MarkerDelay)
			select {
			case <-l.quit:
				timer.Stop()
				return
			case <-timer.C:
			}
			select {
			case <-l.dirty:
			default:
				idle = true
			}
		}
		l.writeMu.Lock()
		if l.writable() == nil {
			// A failure has poisoned the log, which the next change reports.
			_ = l.writeMarker(false)
		}
		l.writeMu.Unlock()
	}
}

// maintainLoop does what must not hold up an append. It is started by Open and
// ended by Close, after what is full has been sealed.
func (l *Log) maintainLoop() {
	defer l.loops.Done()
	failing := false
	for {
		var retry <-chan time.Time
		if failing {
			retry = time.After(retryDelay)
		}
		select {
		case <-l.quit:
			l.fileMu.Lock()
			err := errors.Join(l.sealFull(), l.removeRetired())
			l.fileMu.Unlock()
			l.tellSealed()
			if err != nil {
				l.o.Logger.Warn("segments are left for the next start to seal", "partition", l.o.Partition, "err", err)
			}
			return
		case <-l.wake:
		case <-retry:
		}
		err := l.maintain()
		l.tellSealed()
		if err != nil && !failing {
			l.o.Logger.Warn("maintenance of segments", "partition", l.o.Partition, "err", err)
		}
		failing = err != nil && l.Poisoned() == nil
	}
}

func (l *Log) maintain() error {
	l.fileMu.Lock()
	defer l.fileMu.Unlock()
	if err := l.Poisoned(); err != nil {
		return err
	}
	// First what the next append may have to wait for.
	l.mu.RLock()
	wanted := len(l.prepared) == 0 && (l.active == nil || l.active.end > l.active.fileBytes/2)
	l.mu.RUnlock()
	var err error
	if wanted {
		err = l.prepare()
	}
	return errors.Join(err, l.sealFull(), l.removeRetired())
}

// ensurePrepared makes sure that n segments are ready for use. The caller holds
// writeMu.
func (l *Log) ensurePrepared(n int) error {
	l.mu.RLock()
	have := len(l.prepared)
	l.mu.RUnlock()
	if have >= n {
		return nil
	}
	l.fileMu.Lock()
	defer l.fileMu.Unlock()
	for {
		l.mu.RLock()
		have = len(l.prepared)
		l.mu.RUnlock()
		if have >= n {
			return nil
		}
		if err := l.prepare(); err != nil {
			return err
		}
	}
}

// prepare makes one segment file: written, synced, named, listed. The caller
// holds fileMu. A failure before the manifest leaves nothing that counts.
func (l *Log) prepare() error {
	s := l.newSegment(l.manifest.Next, uint32(l.o.SegmentBytes))
	err := l.prepareFile(s)
	if err == nil {
		err = l.editManifest(func(m *manifest) {
			m.Rows = append(m.Rows, manifestRow{ID: s.id, State: fileCreated, FileBytes: s.fileBytes})
			m.Next = s.id + 1
		})
	}
	if err != nil {
		if s.file != nil {
			err = errors.Join(err, s.file.Close())
		}
		if s.mapping != nil {
			err = errors.Join(err, s.mapping.Close())
		}
		if l.Poisoned() == nil {
			// It was not listed and holds nothing.
			_ = l.o.FS.Remove(s.path + tmpSuffix)
			_ = l.o.FS.Remove(s.path)
		}
		if isNoSpace(err) {
			l.metrics.noSpace.Inc()
			return fmt.Errorf("prepare segment %d: %w: %w", s.id, ErrNoSpace, err)
		}
		return fmt.Errorf("prepare segment %d: %w", s.id, err)
	}
	l.mu.Lock()
	l.prepared = append(l.prepared, s)
	l.mu.Unlock()
	return nil
}

func (l *Log) prepareFile(s *segment) (err error) {
	tmp := s.path + tmpSuffix
	if s.file, err = l.o.FS.Create(tmp); err != nil {
		return err
	}
	h := header{Partition: l.o.Partition, FileBytes: s.fileBytes, Segment: s.id, Created: l.o.Now(), Cluster: l.o.ClusterID}
	if _, err := s.file.WriteAt(appendHeaderBlock(nil, &h), 0); err != nil {
		return err
	}
	if err := s.file.Preallocate(int64(s.fileBytes)); err != nil {
		return err
	}
	if err := s.file.Sync(); err != nil {
		return err
	}
	if err := l.o.FS.Rename(tmp, s.path); err != nil {
		return err
	}
	if err := l.o.FS.SyncDir(l.o.Dir); err != nil {
		return err
	}
	s.mapping, err = s.file.Map(int64(s.fileBytes))
	return err
}

// sealFull seals what is full, oldest first. The caller holds fileMu.
func (l *Log) sealFull() error {
	for {
		l.mu.RLock()
		i := slices.IndexFunc(l.segments, func(s *segment) bool { return s.state == StateFull })
		var s *segment
		if i >= 0 {
			s = l.segments[i]
		}
		l.mu.RUnlock()
		if s == nil {
			return nil
		}
		if err := l.Poisoned(); err != nil {
			return err
		}
		if err := l.seal(s); err != nil {
			return fmt.Errorf("seal segment %d: %w", s.id, err)
		}
	}
}

// seal writes a full segment's footer and lists its hash. Full segments change
// only under fileMu, which the caller holds.
func (l *Log) seal(s *segment) error {
	start := int64(s.fileBytes) - int64(s.index.footerBytes())
	if start < int64(s.end) {
		return l.poison(fmt.Errorf("no room for the footer of segment %d: entries end at %d, it begins at %d", s.id, s.end, start))
	}
	hash, err := hashFile(&fileBytes{b: s.mapping.Bytes(), mapping: s.mapping}, start)
	if err != nil {
		return err
	}
	t := trailer{Segment: s.id, Partition: l.o.Partition, End: s.end, Prev: s.prev, Last: s.last, Hash: hash}
	raw := s.index.appendFooter(nil, &t)
	if _, err := s.file.WriteAt(raw, start); err != nil {
		return l.poison(fmt.Errorf("write footer: %w", err))
	}
	if err := s.file.SyncData(); err != nil {
		return l.poison(fmt.Errorf("sync footer: %w", err))
	}
	err = l.editManifest(func(m *manifest) {
		if r := m.row(s.id); r != nil {
			r.State, r.End, r.FirstIndex, r.Last, r.Records = fileSealed, s.end, s.first(), s.last, s.records
			r.Hash, r.FooterCRC, r.FooterBytes = hash, t.CRC, t.FooterBytes
		}
	})
	if err != nil {
		return err
	}
	l.metrics.seals.Inc()
	foot, err := parseFooter(s.mapping.Bytes(), int64(s.fileBytes))
	if err != nil {
		return l.poison(fmt.Errorf("footer just written: %w", err))
	}
	l.mu.Lock()
	s.state, s.index, s.foot = StateSealed, nil, foot
	s.sealedHash, s.sealedCRC = hash, t.CRC
	err = s.file.Close()
	s.file = nil
	l.trimMapped()
	info := s.info()
	l.mu.Unlock()
	if err != nil {
		l.o.Logger.Warn("close a sealed segment", "partition", l.o.Partition, "file", s.path, "err", err)
	}
	l.sealed = append(l.sealed, info)
	return nil
}

// tellSealed calls OnSeal for what was sealed, without a lock held.
func (l *Log) tellSealed() {
	l.fileMu.Lock()
	sealed := l.sealed
	l.sealed = nil
	l.fileMu.Unlock()
	if l.o.OnSeal == nil {
		return
	}
	for _, info := range sealed {
		l.o.OnSeal(info)
	}
}

// hashFile is the hash of a file up to end.
func hashFile(f *fileBytes, end int64) (uint64, error) {
	d := xxhash.New()
	for at := int64(0); at < end; {
		to := min(at+populateBytes, end)
		if err := f.need(to); err != nil {
			return 0, err
		}
		// A Digest does not fail.
		_, _ = d.Write(f.b[at:to])
		at = to
	}
	return d.Sum64(), nil
}

// removeRetired unlinks retired segments that nobody reads. The caller holds
// fileMu.
func (l *Log) removeRetired() error {
	l.mu.Lock()
	var free []*segment
	l.retired = slices.DeleteFunc(l.retired, func(s *segment) bool {
		if s.leases == 0 {
			free = append(free, s)
		}
		return s.leases == 0
	})
	var err error
	for _, s := range free {
		err = errors.Join(err, l.closeSegment(s))
	}
	l.mu.Unlock()
	if len(free) == 0 {
		return err
	}
	var gone []record.SegmentID
	for _, s := range free {
		if e := removeFile(l.o.FS, filepath.Join(l.o.Dir, segmentName(s.id))); e != nil {
			// It is listed as retired, so the next start tries again.
			err = errors.Join(err, e)
			continue
		}
		gone = append(gone, s.id)
	}
	if e := l.o.FS.SyncDir(l.o.Dir); e != nil {
		return errors.Join(err, e)
	}
	for _, id := range gone {
		l.removed[id] = true
	}
	return err
}

func removeFile(fsys vfs.FS, path string) error {
	if _, err := fsys.Stat(path); isNotExist(err) {
		return nil
	}
	return fsys.Remove(path)
}
