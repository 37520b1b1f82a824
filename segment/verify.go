package segment

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"leat.dev/leat/segment/record"
	"leat.dev/leat/segment/vfs"
)

const (
	// verifyRounds bounds how often Verify begins anew because the log changed.
	verifyRounds = 5
	// liveDelay is longer than a write takes to get into the page cache, so that
	// a tail that is being written has grown when it is looked at again.
	liveDelay  = 50 * time.Millisecond
	liveRounds = 3
)

// Report is what Verify found in a folder.
type Report struct {
	Dir        string
	Manifest   string // file
	Generation uint64
	Partition  uint32
	ClusterID  string
	Base       Tip // the entry before the first
	Last       Tip
	Entries    int
	Records    uint64
	Bytes      int64
	Segments   []SegmentReport
	// Tail is the state of the last segment's tail: what Open would find.
	Tail     TailState
	Findings []Finding // of all segments, and of the folder

	ended bool // the segment that was the last one has been read
}

// SegmentReport is what Verify found in one segment.
type SegmentReport struct {
	Info
	Scan *FileScan // nil when the file could not be opened
	// Growing tells that entries were added while the segment was read.
	Growing bool
}

// State is the worst of all findings: TailCorrupt, TailUncertain, TailTorn or
// TailClean.
func (r *Report) State() TailState {
	rank := func(t TailState) int {
		return map[TailState]int{TailTorn: 1, TailUncertain: 2, TailCorrupt: 3}[t]
	}
	worst := r.Tail
	for _, f := range r.Findings {
		if rank(f.State) > rank(worst) {
			worst = f.State
		}
	}
	return worst
}

// Verify reads everything in a partition's folder, changes nothing, and tells
// what is wrong. It works beside a running node. Of the options FS and Dir are
// used. The error is that of a file that could not be read, or of ctx; damage is
// in the report. visit, when not nil, gets each whole frame in the order of the
// log; it may get some again when the log changes meanwhile.
func Verify(ctx context.Context, o Options, visit func(record.SegmentID, Frame) error) (*Report, error) {
	o.EnsureDefaults()
	if err := o.Validate(); err != nil {
		return nil, err
	}
	for round := 1; ; round++ {
		r, err := verifyOnce(ctx, &o, visit)
		if err == nil && r.State() == TailClean || round == verifyRounds || ctx.Err() != nil {
			return r, err
		}
		names, listErr := o.FS.List(o.Dir)
		if listErr != nil {
			return r, errors.Join(err, listErr)
		}
		if gens := generations(names); r == nil || len(gens) == 0 || gens[0] == r.Generation {
			return r, err
		}
	}
}

func verifyOnce(ctx context.Context, o *Options, visit func(record.SegmentID, Frame) error) (*Report, error) {
	names, err := o.FS.List(o.Dir)
	if err != nil {
		return nil, err
	}
	r := &Report{Dir: o.Dir}
	gens := generations(names)
	if len(gens) == 0 {
		r.find(o.Dir, 0, 0, fmt.Errorf("%w: there is no manifest", record.ErrFormat))
		return r, nil
	}
	r.Generation, r.Manifest = gens[0], filepath.Join(o.Dir, manifestName(gens[0]))
	m, err := loadManifest(o.FS, o.Dir, gens[0])
	if damage := (*CorruptionError)(nil); errors.As(err, &damage) {
		r.find(damage.File, 0, 0, damage.Err)
		return r, nil
	}
	if err != nil {
		return r, err
	}
	r.Partition, r.ClusterID, r.Base, r.Last = m.Partition, m.Cluster, m.Base, m.Base
	for i := range m.Rows {
		if err := ctx.Err(); err != nil {
			return r, err
		}
		if m.Rows[i].State == fileRetired {
			continue
		}
		if err := r.segment(o, m, i, visit); err != nil {
			return r, err
		}
	}
	r.checkOrphans(o, m, names)
	return r, nil
}

func (r *Report) find(file string, id record.SegmentID, index uint64, err error) {
	r.Findings = append(r.Findings, Finding{File: file, Segment: id, Index: index, State: TailCorrupt, Err: err})
}

// segment verifies one segment and where it stands in the log.
func (r *Report) segment(o *Options, m *manifest, i int, visit func(record.SegmentID, Frame) error) error {
	row := m.Rows[i]
	path := filepath.Join(o.Dir, segmentName(row.ID))
	sr := SegmentReport{Info: Info{ID: row.ID, Path: path, State: StatePrepared, Bound: row.Bound, FileBytes: int64(row.FileBytes)}}
	s, growing, err := scanLive(o.FS, path, row, func(f Frame) error {
		if visit == nil {
			return nil
		}
		return visit(row.ID, f)
	})
	if isNotExist(err) {
		r.find(path, row.ID, row.FirstIndex, fmt.Errorf("%w: the manifest lists it: %w", record.ErrFormat, err))
		r.Segments = append(r.Segments, sr)
		r.Last = row.Last
		return nil
	}
	if err != nil {
		return err
	}
	var next *Tip
	if row.State == fileCreated && row.Bound == BoundNone && s.Opened {
		if next = nextPrev(o, m, i); next != nil && *next != s.Tip {
			// It may have been filled, and the next one taken into use, since it was
			// read: now it does not change any more.
			seen := s.Stop
			s, growing, err = scanLive(o.FS, path, row, func(f Frame) error {
				if visit == nil || f.Position < seen {
					return nil
				}
				return visit(row.ID, f)
			})
			if err != nil {
				return err
			}
		}
	}
	sr.Scan, sr.Growing = s, growing
	r.Findings = append(r.Findings, s.Findings...)
	if len(s.Findings) == 0 || s.Header.Segment != 0 {
		if s.Header.Segment != row.ID || s.Header.FileBytes != int64(row.FileBytes) || s.Header.Partition != m.Partition || s.Header.ClusterID != m.Cluster {
			r.find(path, row.ID, 0, fmt.Errorf("%w: header of segment %d with %d bytes, partition %d of cluster %q",
				record.ErrFormat, s.Header.Segment, s.Header.FileBytes, s.Header.Partition, s.Header.ClusterID))
		}
	}
	if !s.Opened && row.State == fileCreated && row.Bound == BoundNone {
		if s.Tail != TailClean {
			r.Findings = append(r.Findings, Finding{File: path, Segment: row.ID, Position: openingPosition, State: s.Tail, Err: fmt.Errorf("opening marker: %w", s.TailErr)})
		}
		r.Segments = append(r.Segments, sr)
		return nil
	}
	if r.ended {
		// It was taken into use since the one before it was read.
		sr.Growing = true
		r.Segments = append(r.Segments, sr)
		return nil
	}
	if s.Prev != r.Last {
		r.find(path, row.ID, r.Last.Index+1, fmt.Errorf("%w: begins behind entry %d (chain %016x), want %d (chain %016x)",
			record.ErrFormat, s.Prev.Index, s.Prev.Chain, r.Last.Index, r.Last.Chain))
	}
	r.judge(row, s, next, &sr)
	r.Segments = append(r.Segments, sr)
	r.Bytes += sr.Bytes
	r.Last = s.Tip
	if row.State == fileSealed || row.Bound != BoundNone {
		r.Last = row.Last
	}
	r.Entries += int(r.Last.Index - s.Prev.Index)
	r.Records += sr.Records
	return nil
}

// judge compares a segment that has been in use with the manifest and with what
// the next one proves, next; nil when there is none.
func (r *Report) judge(row manifestRow, s *FileScan, next *Tip, sr *SegmentReport) {
	sr.First, sr.Last, sr.Bytes, sr.Records = s.Prev.Index+1, s.Tip.Index, s.End, s.Records
	if row.State == fileSealed || row.Bound != BoundNone {
		sr.Last, sr.Bytes, sr.Records = row.Last.Index, int64(row.End), row.Records
		tip, ok := s.tips[row.End]
		if !ok && row.End == entriesPosition {
			tip, ok = s.Prev, true
		}
		if !ok || tip != row.Last || row.FirstIndex != s.Prev.Index+1 {
			r.find(sr.Path, row.ID, tip.Index, fmt.Errorf("%w: entry %d ends at %d, the manifest says entry %d", record.ErrFormat, tip.Index, row.End, row.Last.Index))
		}
	}
	if row.State == fileSealed {
		sr.State = StateSealed
		f := s.Footer
		if f == nil {
			r.find(sr.Path, row.ID, 0, fmt.Errorf("%w: footer of a sealed segment", record.ErrChecksum))
		} else if f.Hash != row.Hash || f.CRC != row.FooterCRC || f.Bytes != int64(row.FooterBytes) {
			r.find(sr.Path, row.ID, 0, fmt.Errorf("%w: footer with hash %016x, CRC %08x, the manifest says %016x, %08x",
				record.ErrChecksum, f.Hash, f.CRC, row.Hash, row.FooterCRC))
		}
		return
	}
	sr.State = StateFull
	if row.Bound != BoundNone {
		return
	}
	if next != nil {
		if s.Tip != *next {
			r.find(sr.Path, row.ID, s.Tip.Index+1, fmt.Errorf("%w: the segment behind it says that it ends with entry %d: %w",
				record.ErrFormat, next.Index, errOr(s.TailErr)))
		}
		return
	}
	if s.Footer == nil {
		sr.State = StateActive
	}
	r.ended = true
	r.Tail = s.Tail
	if s.Tail != TailClean {
		r.Findings = append(r.Findings, Finding{File: sr.Path, Segment: row.ID, Position: s.Stop, Index: s.Tip.Index + 1, State: s.Tail, Err: s.TailErr})
	}
}

// nextPrev is what the opening marker of the next segment in use says; nil when
// there is none.
func nextPrev(o *Options, m *manifest, i int) *Tip {
	for _, row := range m.Rows[i+1:] {
		if row.State == fileRetired {
			continue
		}
		path := filepath.Join(o.Dir, segmentName(row.ID))
		f, err := o.FS.Open(path)
		if err != nil {
			return nil
		}
		buf := make([]byte, record.FrameHeaderBytes)
		_, err = f.ReadAt(buf, openingPosition)
		if err = errors.Join(err, f.Close()); err != nil {
			return nil
		}
		var h record.FrameHeader
		if record.ParseFrameHeader(buf, record.Place{Partition: m.Partition, Segment: row.ID, Position: openingPosition}, &h) == nil {
			return &Tip{Index: h.Index, Term: h.Term, Chain: h.Chain}
		}
	}
	return nil
}

// scanLive scans a file that may be in use. A tail that is not clean and has
// grown when it is looked at again was one being written.
func scanLive(fsys vfs.FS, path string, row manifestRow, visit func(Frame) error) (s *FileScan, growing bool, err error) {
	s, err = scanFile(fsys, path, row, visit)
	live := row.State == fileCreated && row.Bound == BoundNone
	for round := 0; err == nil && live && s.Tail != TailClean && round < liveRounds; round++ {
		time.Sleep(liveDelay)
		again, err := scanFile(fsys, path, row, nil)
		if err != nil {
			return s, false, err
		}
		if again.Stop > s.Stop || again.Tail == TailClean {
			s.Tail, s.TailErr, s.CutBytes = TailClean, nil, 0
			return s, true, nil
		}
	}
	return s, false, err
}

// checkOrphans tells of segments that the manifest does not know.
func (r *Report) checkOrphans(o *Options, m *manifest, names []string) {
	for _, name := range names {
		id, ok := parseName(name, "", segmentSuffix)
		switch {
		case !strings.HasSuffix(name, segmentSuffix):
		case ok && m.row(record.SegmentID(id)) != nil:
		case ok && record.SegmentID(id) == m.Next:
			// Prepared, and about to be listed when the node stopped.
		default:
			r.find(filepath.Join(o.Dir, name), record.SegmentID(id), 0, fmt.Errorf("%w: the manifest does not list it", record.ErrFormat))
		}
	}
}
