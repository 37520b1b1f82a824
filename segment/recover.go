package segment

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"leat.dev/leat/segment/record"
	"leat.dev/leat/segment/vfs"
)

// Recovery says what Open found.
type Recovery struct {
	Tail     TailState        // of the last segment that was written to: clean, torn, or uncertain and cut by leave
	Segment  record.SegmentID // which that is; 0 none
	Position int64            // where its last whole frame ends
	CutBytes int64            // cut from the tail
	TailErr  error            // what was wrong with it

	Sealed  int   // segments taken as the manifest has them
	Scanned int   // segments whose frames were read
	Frames  int   // entries and markers read
	Bytes   int64 // of those
	Orphans []string
}

// Open opens the log in a folder, or makes one. It returns a *CorruptionError,
// and has changed nothing, when an entry that may have been acknowledged is
// damaged; a *VersionError or ErrForeign when the folder is not for this
// program, partition or cluster.
func Open(o Options) (*Log, error) {
	o.EnsureDefaults()
	if err := o.Validate(); err != nil {
		return nil, err
	}
	l := &Log{
		o: o, metrics: newMetrics(o.Registerer), removed: map[record.SegmentID]bool{},
		wake: make(chan struct{}, 1), dirty: make(chan struct{}, 1), quit: make(chan struct{}),
	}
	if err := l.recover(); err != nil {
		for _, s := range slices.Concat(l.segments, l.prepared, l.retired) {
			err = errors.Join(err, l.closeSegment(s))
		}
		if errors.Is(err, ErrCorrupt) {
			l.metrics.corruptions.Inc()
		}
		return nil, fmt.Errorf("open log of partition %d: %w", o.Partition, err)
	}
	l.metrics.cutBytes.Add(float64(l.recovery.CutBytes))
	l.fill.init(o.FillBytesMax)
	l.loops.Add(2)
	go l.maintainLoop()
	go l.markLoop()
	if l.fill.aheadMax > 0 {
		if l.active != nil {
			l.fill.enter(l.active, l.app.pos)
		}
		l.loops.Add(1)
		go l.fillLoop()
	}
	l.signal()
	return l, nil
}

func (l *Log) recover() error {
	if err := vfs.MkdirAllSync(l.o.FS, l.o.Dir); err != nil {
		return err
	}
	// What the last run could not make sure of may be seen here and still be lost.
	if err := l.o.FS.SyncDir(l.o.Dir); err != nil {
		return err
	}
	names, err := l.o.FS.List(l.o.Dir)
	if err != nil {
		return err
	}
	if err := l.recoverManifest(names); err != nil {
		return err
	}
	chain, spare, err := l.recoverSegments()
	if err != nil {
		return err
	}
	// Nothing has been changed up to here. From here on nothing is found that
	// would forbid to open.
	if err := l.settle(chain, spare); err != nil {
		return err
	}
	return l.sweep(names)
}

// recoverManifest loads the manifest, or makes the first one of an empty folder.
func (l *Log) recoverManifest(names []string) error {
	l.generations = generations(names)
	if len(l.generations) > 0 {
		l.generation = l.generations[0]
		m, err := loadManifest(l.o.FS, l.o.Dir, l.generation)
		if err != nil {
			return err
		}
		if m.Partition != l.o.Partition || m.Cluster != l.o.ClusterID {
			return fmt.Errorf("%w: %s is of partition %d of cluster %q, want %d of %q",
				ErrForeign, l.o.Dir, m.Partition, m.Cluster, l.o.Partition, l.o.ClusterID)
		}
		l.manifest = m
		return nil
	}
	for _, name := range names {
		if strings.HasSuffix(name, segmentSuffix) {
			return &CorruptionError{
				File: filepath.Join(l.o.Dir, manifestPrefix+"*"), Partition: l.o.Partition, Tail: TailCorrupt,
				Err: fmt.Errorf("%w: there is no manifest, but segment %s", record.ErrFormat, name),
			}
		}
	}
	l.manifest = &manifest{Partition: l.o.Partition, Cluster: l.o.ClusterID, Next: 1}
	return l.editManifest(func(*manifest) {})
}

// recovered is a segment as it was found.
type recovered struct {
	seg   *segment
	row   manifestRow
	scan  scan
	index *memIndex
	verdict
}

// verdict says how a segment's end is to be taken.
type verdict struct {
	tail  tail
	spoil bool // the opening marker was torn: the file was never used and can't be
}

// recoverSegments looks at all segments that are listed. chain is those that
// hold the log, in order, spare those ready for use or spoilt.
func (l *Log) recoverSegments() (chain, spare []*recovered, err error) {
	defer func() {
		if err != nil {
			for _, r := range slices.Concat(chain, spare) {
				err = errors.Join(err, l.closeSegment(r.seg))
			}
		}
	}()
	for _, row := range l.manifest.Rows {
		if row.State == fileRetired {
			continue
		}
		r := &recovered{seg: l.newSegment(row.ID, row.FileBytes), row: row}
		r.seg.bound = row.Bound
		if row.State == fileSealed {
			chain = append(chain, r)
			err = l.checkSealed(r)
		} else {
			spare = append(spare, r)
			if err = l.scanSegment(r); err == nil && r.scan.Opened {
				chain, spare = append(chain, r), spare[:len(spare)-1]
			}
		}
		if err != nil {
			return chain, spare, err
		}
	}
	return chain, spare, l.checkChain(chain, spare)
}

// checkSealed trusts the manifest for a sealed segment, as long as the file is
// there and has its length. Its footer is checked when it is first read.
func (l *Log) checkSealed(r *recovered) error {
	s := r.seg
	info, err := l.o.FS.Stat(s.path)
	if isNotExist(err) {
		return l.corrupt(s, 0, r.row.FirstIndex, fmt.Errorf("%w: the manifest lists it: %w", record.ErrFormat, err))
	}
	if err != nil {
		return fmt.Errorf("look at segment %d: %w", s.id, err)
	}
	if info.SizeBytes != int64(s.fileBytes) {
		return l.corrupt(s, 0, r.row.FirstIndex, fmt.Errorf("%w: file of %d bytes, the manifest says %d", record.ErrFormat, info.SizeBytes, s.fileBytes))
	}
	s.state, s.end, s.last, s.records = StateSealed, r.row.End, r.row.Last, r.row.Records
	s.sealedHash, s.sealedCRC = r.row.Hash, r.row.FooterCRC
	s.prev.Index = r.row.FirstIndex - 1
	l.recovery.Sealed++
	return nil
}

// scanSegment reads a segment that is not sealed: what is on disk, not what a
// cache holds since a sync that failed, and all of it synced.
func (l *Log) scanSegment(r *recovered) (err error) {
	s := r.seg
	if s.file, err = l.o.FS.OpenReadWrite(s.path); err != nil {
		if isNotExist(err) {
			return l.corrupt(s, 0, 0, fmt.Errorf("%w: the manifest lists it: %w", record.ErrFormat, err))
		}
		return fmt.Errorf("open segment %d: %w", s.id, err)
	}
	if err := errors.Join(s.file.SyncData(), s.file.DropCache()); err != nil {
		return fmt.Errorf("sync segment %d: %w", s.id, err)
	}
	size, err := s.file.Size()
	if err != nil {
		return fmt.Errorf("look at segment %d: %w", s.id, err)
	}
	if size != int64(s.fileBytes) {
		return l.corrupt(s, 0, 0, fmt.Errorf("%w: file of %d bytes, the manifest says %d", record.ErrFormat, size, s.fileBytes))
	}
	if s.mapping, err = s.file.Map(size); err != nil {
		return fmt.Errorf("map segment %d: %w", s.id, err)
	}
	f := &fileBytes{b: s.mapping.Bytes(), mapping: s.mapping}
	if err := checkHeader(f, s, l.o.Partition, l.o.ClusterID); err != nil {
		return err
	}
	limit := s.fileBytes
	if r.row.Bound != BoundNone {
		limit = r.row.End
	}
	r.index = newMemIndex()
	if r.scan, err = scanFrames(f, limit, l.o.Partition, s.id, r.index.visit); err != nil {
		return fmt.Errorf("scan segment %d: %w", s.id, err)
	}
	if r.row.Bound == BoundNone {
		if r.tail, err = classifyTail(f, &r.scan, l.o.Partition, s.id, 0); err != nil {
			return fmt.Errorf("scan segment %d: %w", s.id, err)
		}
	}
	s.prev, s.last, s.end, s.records = r.scan.Prev, r.scan.Tip, r.scan.End, r.index.records
	l.recovery.Scanned++
	l.recovery.Frames += r.scan.Entries + r.scan.Markers
	l.recovery.Bytes += int64(r.scan.Stop)
	return nil
}

// checkHeader compares a segment's header block with what is expected. One
// whole copy is enough.
func checkHeader(f *fileBytes, s *segment, part uint32, cluster string) error {
	if err := f.need(headerBlockBytes); err != nil {
		return err
	}
	h, _, err := parseHeaderBlock(s.path, f.b)
	if version := (*VersionError)(nil); errors.As(err, &version) {
		return err
	}
	if err == nil && (h.Segment != s.id || h.FileBytes != s.fileBytes || h.Partition != part || h.Cluster != cluster) {
		err = fmt.Errorf("%w: header of segment %d with %d bytes, partition %d of cluster %q", record.ErrFormat, h.Segment, h.FileBytes, h.Partition, h.Cluster)
	}
	if err != nil {
		return &CorruptionError{File: s.path, Partition: part, Segment: s.id, Tail: TailCorrupt, Err: err}
	}
	return nil
}

// checkChain judges the segments together: each must begin where the one before
// it ends, and what a later one proves about an earlier one must be there.
func (l *Log) checkChain(chain, spare []*recovered) error {
	tip := l.manifest.Base
	for i, r := range chain {
		s := r.seg
		if r.row.State == fileSealed {
			if s.prev.Index != tip.Index {
				return l.corrupt(s, 0, tip.Index+1, fmt.Errorf("%w: begins behind entry %d, want %d", record.ErrFormat, s.prev.Index, tip.Index))
			}
			s.prev, tip = tip, s.last
			continue
		}
		if s.prev != tip {
			return l.corrupt(s, openingPosition, tip.Index+1, fmt.Errorf("%w: begins behind entry %d (chain %016x), want %d (chain %016x)",
				record.ErrFormat, s.prev.Index, s.prev.Chain, tip.Index, tip.Chain))
		}
		if err := l.checkEnd(r, chain[i+1:]); err != nil {
			return err
		}
		tip = s.last
	}
	for _, r := range spare {
		// Nothing is written behind an opening marker before that is synced.
		switch {
		case r.tail.State == TailClean:
		case r.tail.State == TailCorrupt || r.tail.Frames > 0 || r.tail.CutBytes > record.FrameHeaderBytes:
			return l.corrupt(r.seg, openingPosition, 0, fmt.Errorf("opening marker: %w", r.tail.Err))
		default:
			r.spoil = true
		}
	}
	return nil
}

// checkEnd judges the end of a segment that is not sealed. later are the
// segments behind it.
func (l *Log) checkEnd(r *recovered, later []*recovered) error {
	s := r.seg
	if r.row.Bound != BoundNone {
		if r.scan.Stop != r.row.End || r.scan.Tip != r.row.Last {
			return l.corrupt(s, r.scan.Stop, r.scan.Tip.Index+1, fmt.Errorf("%w: the manifest says that entry %d ends at %d: %w",
				record.ErrFormat, r.row.Last.Index, r.row.End, errOr(r.scan.Bad)))
		}
		return nil
	}
	if len(later) > 0 {
		// The opening marker behind it was written when all of this was synced.
		if want := later[0].seg.prev; r.scan.Tip != want {
			return l.corrupt(s, r.scan.Stop, r.scan.Tip.Index+1, fmt.Errorf("%w: the segment behind it says that it ends with entry %d (chain %016x): %w",
				record.ErrFormat, want.Index, want.Chain, errOr(r.scan.Bad, r.tail.Err)))
		}
		return nil
	}
	l.recovery.Tail, l.recovery.Segment, l.recovery.Position = r.tail.State, s.id, int64(r.scan.Stop)
	l.recovery.TailErr = r.tail.Err
	switch {
	case r.tail.State == TailClean:
		return nil
	case r.tail.State == TailTorn, r.tail.State == TailUncertain && l.o.CutUncertain:
		l.recovery.CutBytes = int64(r.tail.CutBytes)
		return nil
	}
	return &CorruptionError{
		File: s.path, Partition: l.o.Partition, Segment: s.id, Position: int64(r.scan.Stop), Index: r.scan.Tip.Index + 1,
		Tail: r.tail.State, Err: r.tail.Err,
	}
}

func errOr(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return errors.New("it ends early")
}

// settle takes over what was found: cuts a torn tail, gives up spoilt files,
// and makes the list of segments.
func (l *Log) settle(chain, spare []*recovered) error {
	l.base, l.last = l.manifest.Base, l.manifest.Base
	for _, r := range chain {
		s := r.seg
		if r.row.State != fileSealed {
			s.index, s.state = r.index, StateFull
		}
		l.segments = append(l.segments, s)
		l.last = s.last
	}
	var spoilt []*segment
	for _, r := range spare {
		if r.spoil {
			spoilt = append(spoilt, r.seg)
		} else {
			l.prepared = append(l.prepared, r.seg)
		}
	}
	l.app.tip = l.last
	var cut *recovered
	if n := len(chain); n > 0 && chain[n-1].row.State != fileSealed && chain[n-1].row.Bound == BoundNone {
		if r := chain[n-1]; r.tail.State == TailClean {
			r.seg.state, l.active = StateActive, r.seg
			l.app.pos, l.app.synced, l.app.marked = r.scan.Stop, r.scan.Stop, r.scan.Stop != r.scan.End || r.scan.Entries == 0
		} else {
			cut = r
		}
	}
	bounded := slices.DeleteFunc(slices.Clone(chain), func(r *recovered) bool { return r != cut && !r.litter() })
	if len(bounded) == 0 && len(spoilt) == 0 {
		return nil
	}
	err := l.editManifest(func(m *manifest) {
		for _, s := range spoilt {
			m.row(s.id).State = fileRetired
		}
		for _, c := range bounded {
			r, s := m.row(c.seg.id), c.seg
			r.Bound, r.End, r.CutBytes = BoundTorn, s.end, c.scan.Stop-s.end+c.tail.CutBytes
			r.FirstIndex, r.Last, r.Records = s.first(), s.last, s.records
			if c == cut && c.tail.State == TailUncertain {
				r.Bound = BoundUncertain
			}
			s.bound = r.Bound
		}
	})
	for _, s := range spoilt {
		s.state = StateRetired
		l.retired = append(l.retired, s)
	}
	if err != nil {
		return fmt.Errorf("cut the tail: %w", err)
	}
	if cut != nil {
		l.o.Logger.Warn("cut the tail of the log: an append was under way when the node stopped",
			"partition", l.o.Partition, "file", cut.seg.path, "position", cut.scan.Stop, "bytes", cut.tail.CutBytes,
			"frames", cut.tail.Frames, "state", cut.tail.State.String(), "last", l.last.Index, "cause", cut.tail.Err)
	}
	return nil
}

// litter tells whether a power cut left part of an idle marker behind the last
// entry of a segment that was left full. The footer, as far as it was written, is
// no litter.
func (r *recovered) litter() bool {
	if r.row.State == fileSealed || r.row.Bound != BoundNone || r.tail.State == TailClean {
		return false
	}
	foot := int64(r.seg.fileBytes) - int64(r.index.footerBytes())
	return !allZero(r.seg.mapping.Bytes()[r.scan.Stop:max(foot, int64(r.scan.Stop))])
}

// sweep deals with files that the manifest does not list, and with those that
// are listed as retired. Nothing that may hold an entry is deleted.
func (l *Log) sweep(names []string) error {
	for _, row := range l.manifest.Rows {
		if row.State == fileRetired && !slices.ContainsFunc(l.retired, func(s *segment) bool { return s.id == row.ID }) {
			s := l.newSegment(row.ID, row.FileBytes)
			s.state = StateRetired
			l.retired = append(l.retired, s)
		}
	}
	for _, name := range names {
		path := filepath.Join(l.o.Dir, name)
		if strings.HasSuffix(name, tmpSuffix) {
			if err := removeFile(l.o.FS, path); err != nil {
				return fmt.Errorf("remove left-over: %w", err)
			}
			continue
		}
		if !strings.HasSuffix(name, segmentSuffix) {
			continue
		}
		id, ok := parseName(name, "", segmentSuffix)
		if ok && l.manifest.row(record.SegmentID(id)) != nil {
			continue
		}
		if err := l.orphan(name, path); err != nil {
			return err
		}
	}
	return nil
}

// orphan removes a file that was prepared and never listed, which is all zeros
// behind its header, and puts any other aside.
func (l *Log) orphan(name, path string) error {
	f, err := l.o.FS.Open(path)
	if err != nil {
		return fmt.Errorf("look at orphan: %w", err)
	}
	unused, err := isUnused(f)
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("look at orphan: %w", err)
	}
	if unused {
		return l.o.FS.Remove(path)
	}
	dir := filepath.Join(l.o.Dir, orphansDir)
	if err := vfs.MkdirAllSync(l.o.FS, dir); err != nil {
		return err
	}
	to, err := unusedName(l.o.FS, filepath.Join(dir, name))
	if err == nil {
		err = l.o.FS.Rename(path, to)
	}
	if err != nil {
		return fmt.Errorf("put orphan aside: %w", err)
	}
	l.recovery.Orphans = append(l.recovery.Orphans, name)
	l.o.Logger.Warn("a segment that the manifest does not know was put aside", "partition", l.o.Partition, "file", path, "to", to)
	return errors.Join(l.o.FS.SyncDir(dir), l.o.FS.SyncDir(l.o.Dir))
}

// unusedName is the given name, or that with a number behind it: a rename would
// replace what was put aside before.
func unusedName(fsys vfs.FS, path string) (string, error) {
	for name, i := path, 2; ; name, i = fmt.Sprintf("%s.%d", path, i), i+1 {
		if _, err := fsys.Stat(name); isNotExist(err) {
			return name, nil
		} else if err != nil {
			return "", err
		}
	}
}

func isUnused(f vfs.File) (bool, error) {
	size, err := f.Size()
	if err != nil {
		return false, err
	}
	buf := make([]byte, populateBytes)
	for at := int64(headerBlockBytes); at < size; at += int64(len(buf)) {
		part := buf[:min(int64(len(buf)), size-at)]
		if n, err := f.ReadAt(part, at); n < len(part) {
			return false, err
		}
		if !allZero(part) {
			return false, nil
		}
	}
	return true, nil
}
