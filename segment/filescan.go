package segment

import (
	"bytes"
	"errors"
	"fmt"
	"runtime/debug"

	"leat.dev/leat/segment/record"
	"leat.dev/leat/segment/vfs"
)

// Frame is one frame as it lies in a file. Its checksums have been compared.
type Frame struct {
	Position int64
	Header   record.FrameHeader
	Payload  []byte // valid during the visit
}

// FileHeader is what a segment file says of itself.
type FileHeader struct {
	Partition uint32
	Segment   record.SegmentID
	FileBytes int64
	Created   int64 // ns since 1970
	ClusterID string
}

// FooterInfo is the fixed part of a footer.
type FooterInfo struct {
	Position  int64
	Bytes     int64
	CRC       uint32
	End       int64 // of the last entry
	Prev      Tip   // the entry before the first
	Last      Tip
	Hash      uint64 // of the file up to the footer, as the footer has it
	Entries   int
	Channels  int
	Batches   int
	Records   uint64
	NameBytes int
}

// Finding is one thing that is wrong.
type Finding struct {
	File     string
	Segment  record.SegmentID // 0: the manifest, or the folder
	Position int64
	Index    uint64 // of the entry that is damaged or missing; 0 unknown
	State    TailState
	Err      error
}

// FileScan is what a segment file holds, as far as the file alone tells.
type FileScan struct {
	File    string
	Header  FileHeader
	Opened  bool // it has been in use
	Prev    Tip  // the entry before the first
	Tip     Tip  // the last entry
	End     int64
	Stop    int64 // the first position without a whole frame
	Entries int
	Markers int
	Batches int
	Records uint64

	CommitHintMax    uint64
	SyncedThroughMax uint64
	TermFirst        uint64
	TermLast         uint64

	Footer   *FooterInfo // nil: not sealed
	Tail     TailState
	TailErr  error
	CutBytes int64
	Findings []Finding

	index *memIndex
	tips  map[uint32]Tip // by where the entry ends, for a bound
}

// ScanFile reads a segment file from one end to the other, without changing it,
// and compares everything with everything: checksums, chain, footer and hash.
// It calls visit, when not nil, for each whole frame in order; an error of visit
// ends the scan and is returned. Damage is told in the result. The file may be
// in use. Its contents are not trusted.
func ScanFile(fsys vfs.FS, path string, visit func(Frame) error) (*FileScan, error) {
	return scanFile(fsys, path, manifestRow{}, visit)
}

// scanFile scans under a row of the manifest; without one the row is zero.
func scanFile(fsys vfs.FS, path string, row manifestRow, visit func(Frame) error) (s *FileScan, err error) {
	file, err := fsys.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	size, err := file.Size()
	if err != nil {
		return nil, err
	}
	s = &FileScan{File: path, index: newMemIndex(), tips: map[uint32]Tip{}}
	if size < SegmentBytesMin || size > SegmentBytesMax {
		s.found(0, 0, fmt.Errorf("%w: segment file of %d bytes", record.ErrFormat, size))
		return s, nil
	}
	m, err := file.Map(size)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, m.Close()) }()
	defer catchFault(debug.SetPanicOnFault(true), &err)
	f := &fileBytes{b: m.Bytes(), mapping: m}
	if err := f.need(headerBlockBytes); err != nil {
		return nil, err
	}
	h, damaged, err := parseHeaderBlock(path, f.b)
	if version := (*VersionError)(nil); errors.As(err, &version) {
		return nil, err
	}
	if err == nil && int64(h.FileBytes) != size {
		err = fmt.Errorf("%w: header of a file of %d bytes in one of %d", record.ErrFormat, h.FileBytes, size)
	}
	if err != nil {
		s.found(0, 0, err)
		return s, nil
	}
	if damaged != nil {
		s.found(0, 0, damaged)
	}
	s.Header = FileHeader{Partition: h.Partition, Segment: h.Segment, FileBytes: size, Created: h.Created, ClusterID: h.Cluster}
	return s, s.frames(f, row, visit)
}

func (s *FileScan) found(pos int64, index uint64, err error) {
	s.Findings = append(s.Findings, Finding{
		File: s.File, Segment: s.Header.Segment, Position: pos, Index: index, State: TailCorrupt, Err: err,
	})
}

// frames scans what lies behind the header block.
func (s *FileScan) frames(f *fileBytes, row manifestRow, visit func(Frame) error) error {
	size := s.Header.FileBytes
	if err := f.need(size); err != nil {
		return err
	}
	foot, footErr := parseFooter(f.b, size)
	limit := uint32(size)
	switch {
	case footErr == nil:
		limit = foot.End
	case row.Bound != BoundNone && row.State == fileCreated:
		limit = row.End
	}
	part, id := s.Header.Partition, s.Header.Segment
	got, err := scanFrames(f, limit, part, id, func(pos uint32, h *record.FrameHeader, payload []byte) error {
		s.note(pos, h, payload)
		if visit == nil {
			return nil
		}
		return visit(Frame{Position: int64(pos), Header: *h, Payload: payload})
	})
	if err != nil {
		return err
	}
	s.Opened, s.Prev, s.Tip = got.Opened, got.Prev, got.Tip
	s.End, s.Stop, s.Entries, s.Markers = int64(got.End), int64(got.Stop), got.Entries, got.Markers
	s.Batches, s.Records = s.index.batches, s.index.records
	if footErr == nil {
		return s.checkFooter(f, foot, &got, row.Bound != BoundNone)
	}
	if limit != uint32(size) {
		if got.Stop != limit {
			s.found(s.Stop, s.Tip.Index+1, fmt.Errorf("%w: entries should end at %d: %w", record.ErrFormat, limit, errOr(got.Bad)))
		}
		return nil
	}
	t, err := classifyTail(f, &got, part, id, 0)
	if err != nil {
		return err
	}
	s.Tail, s.TailErr, s.CutBytes = t.State, t.Err, int64(t.CutBytes)
	return nil
}

// note takes a frame into the index, and looks at its batches.
func (s *FileScan) note(pos uint32, h *record.FrameHeader, payload []byte) {
	s.CommitHintMax, s.SyncedThroughMax = max(s.CommitHintMax, h.CommitHint), max(s.SyncedThroughMax, h.SyncedThrough)
	if h.SyncedThrough > uint64(pos) {
		s.found(int64(pos), h.Index, fmt.Errorf("%w: frame at %d says durable up to %d", record.ErrFormat, pos, h.SyncedThrough))
	}
	if n := record.ZeroSectors(pos+record.FrameHeaderBytes, payload); n != h.ZeroSectors {
		s.found(int64(pos), h.Index, fmt.Errorf("%w: payload with %d sectors of zeros, the header says %d", record.ErrFormat, n, h.ZeroSectors))
	}
	if h.Type == record.FrameSyncMarker {
		return
	}
	if s.TermFirst == 0 {
		s.TermFirst = h.Term
	}
	s.TermLast = h.Term
	s.tips[pos+h.FrameBytes] = Tip{Index: h.Index, Term: h.Term, Chain: h.Chain}
	err := s.index.visit(pos, h, payload)
	if err == nil && h.Type == record.FrameData {
		var n int
		n, err = record.CountBatches(payload, func(_ int, b *record.Batch) error { return b.Verify() })
		if err == nil && n != int(h.Batches) {
			err = fmt.Errorf("%w: %d batches, the header says %d", record.ErrFormat, n, h.Batches)
		}
	}
	if err != nil {
		s.found(int64(pos), h.Index, err)
	}
}

// checkFooter compares a footer with the frames and the file with its hash.
func (s *FileScan) checkFooter(f *fileBytes, foot *footer, got *scan, bounded bool) error {
	s.Footer = &FooterInfo{
		Position: foot.start, Bytes: int64(foot.FooterBytes), CRC: foot.CRC, End: int64(foot.End), Prev: foot.Prev, Last: foot.Last, Hash: foot.Hash,
		Entries: int(foot.Entries), Channels: int(foot.Channels), Batches: int(foot.Batches), Records: foot.Records, NameBytes: int(foot.NameBytes),
	}
	if got.Stop != foot.End || got.Tip != foot.Last {
		s.found(s.Stop, s.Tip.Index+1, fmt.Errorf("%w: the footer says that entry %d ends at %d: %w",
			record.ErrFormat, foot.Last.Index, foot.End, errOr(got.Bad)))
	}
	hash, err := hashFile(f, foot.start)
	if err != nil {
		return err
	}
	if hash != foot.Hash {
		s.found(0, 0, fmt.Errorf("%w: file has hash %016x, its footer says %016x", record.ErrChecksum, hash, foot.Hash))
	}
	t := trailer{Segment: s.Header.Segment, Partition: s.Header.Partition, End: uint32(s.End), Prev: s.Prev, Last: s.Tip, Hash: hash}
	if want := s.index.appendFooter(nil, &t); !bytes.Equal(want, f.b[foot.start:]) {
		s.found(foot.start, 0, fmt.Errorf("%w: footer is not the one that the frames make", record.ErrFormat))
	}
	// Behind the end there is what a cut or a truncation left, if the manifest
	// says so, and otherwise markers, at most, and zeros.
	if !bounded {
		s.checkGap(f, foot)
	}
	return nil
}

// checkGap looks at the bytes between the last entry and the footer.
func (s *FileScan) checkGap(f *fileBytes, foot *footer) {
	rest := *f
	gap := scan{Opened: true, Prev: s.Prev, Tip: s.Tip, Stop: foot.End}
	var h record.FrameHeader
	for {
		at := record.Place{Partition: s.Header.Partition, Segment: s.Header.Segment, Position: gap.Stop}
		body, bad, err := frameAt(&rest, gap.Stop, uint32(foot.start), at, &h)
		if err != nil || bad != nil || body == nil || h.Type != record.FrameSyncMarker || gap.follow(&h) != nil {
			break
		}
		gap.Stop += h.FrameBytes
		s.Markers++
	}
	if n := zeroPrefix(f.b[gap.Stop:foot.start]); int64(gap.Stop)+int64(n) != foot.start {
		s.found(int64(gap.Stop)+int64(n), 0, fmt.Errorf("%w: bytes between entries and footer are set", record.ErrFormat))
	}
}
