package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"leat.dev/leat/segment"
	"leat.dev/leat/segment/record"
	"leat.dev/leat/segment/vfs"
	"leat.dev/leat/tools/node"
)

// survey is what inspect found, in the form that scripts read.
type survey struct {
	Path       string         `json:"path"`
	Node       *node.Identity `json:"node,omitempty"`
	Partitions []partitionDoc `json:"partitions"`
	Findings   []findingDoc   `json:"findings"`
	Verdict    string         `json:"verdict"` // clean, torn, corrupt, uncertain
	Frames     int            `json:"frames"`  // checked, markers among them
	Bytes      int64          `json:"bytes"`   // of those
	Records    uint64         `json:"records"`
	Seconds    float64        `json:"seconds"` // s
	state      segment.TailState
}

// partitionDoc is one partition's folder, or a segment file by itself.
type partitionDoc struct {
	Path       string       `json:"path"`
	Partition  uint32       `json:"partition"`
	ClusterID  string       `json:"cluster_id"`
	Generation uint64       `json:"manifest,omitempty"`
	Base       tipDoc       `json:"base"` // the entry before the first
	Last       tipDoc       `json:"last"`
	Tail       string       `json:"tail"`
	Segments   []segmentDoc `json:"segments"`
	Channels   []channelDoc `json:"channels"`
}

type tipDoc struct {
	Index uint64 `json:"index"`
	Term  uint64 `json:"term"`
	Chain string `json:"chain"`
}

type segmentDoc struct {
	Segment       uint64    `json:"segment"`
	File          string    `json:"file"`
	State         string    `json:"state"`
	Bound         string    `json:"bound,omitempty"`
	Growing       bool      `json:"growing,omitempty"`
	Created       string    `json:"created,omitempty"`
	First         uint64    `json:"first"`
	Last          uint64    `json:"last"`
	Records       uint64    `json:"records"`
	Bytes         int64     `json:"bytes"`
	FileBytes     int64     `json:"file_bytes"`
	Entries       int       `json:"entries"`
	Markers       int       `json:"markers"`
	Hash          string    `json:"hash,omitempty"`
	Tail          string    `json:"tail"`
	TailError     string    `json:"tail_error,omitempty"`
	CutBytes      int64     `json:"cut_bytes,omitempty"`
	CommitHint    uint64    `json:"commit_hint"`
	SyncedThrough uint64    `json:"synced_through"`
	Terms         []termDoc `json:"terms,omitempty"`
}

// termDoc says with which entry a term began.
type termDoc struct {
	Term  uint64 `json:"term"`
	Index uint64 `json:"index"`
}

type channelDoc struct {
	Channel string `json:"channel"`
	ID      uint64 `json:"id"`
	First   uint64 `json:"first"`
	Last    uint64 `json:"last"`
	Records uint64 `json:"records"`
	Batches uint64 `json:"batches"`
	Bytes   uint64 `json:"bytes"`
}

type findingDoc struct {
	File     string `json:"file"`
	Segment  uint64 `json:"segment,omitempty"`
	Position int64  `json:"position"`
	Index    uint64 `json:"index,omitempty"`
	State    string `json:"state"`
	Error    string `json:"error"`
}

// surveyor reads a data directory, a partition's folder or a segment file, and
// hands each frame on as it comes.
type surveyor struct {
	files vfs.FS
	// visit may be nil. Frames come once, in the order of each partition's log.
	visit func(partition uint32, id record.SegmentID, f *segment.Frame) error
	bytes atomic.Int64 // of frames seen so far
}

// survey inspects what is at path. The error is that of a file that can't be
// read; damage is in the survey.
func (s *surveyor) survey(ctx context.Context, path string) (*survey, error) {
	start := time.Now()
	out := &survey{Path: path, Partitions: []partitionDoc{}, Findings: []findingDoc{}}
	info, err := s.files.Stat(path)
	if err != nil {
		return nil, err
	}
	switch {
	case !info.IsDir:
		err = s.file(path, out)
	default:
		err = s.folder(ctx, path, out)
	}
	out.Verdict = out.state.String()
	out.Seconds = time.Since(start).Seconds()
	return out, err
}

func (s *surveyor) folder(ctx context.Context, path string, out *survey) error {
	folders, err := partitionFolders(s.files, path)
	if err != nil {
		return err
	}
	if slices.Equal(folders, []string{path}) {
		return s.partition(ctx, path, out)
	}
	if err := s.identity(path, len(folders), out); err != nil {
		return err
	}
	for _, folder := range folders {
		if err := s.partition(ctx, folder, out); err != nil {
			return err
		}
	}
	return nil
}

// errNoData is returned when a folder holds nothing of Leat's.
var errNoData = errors.New("neither a data directory nor a partition's folder")

// partitionFolders lists the partitions of a data directory; a partition's
// folder is its own only one.
func partitionFolders(files vfs.FS, path string) ([]string, error) {
	names, err := files.List(path)
	if err != nil {
		return nil, err
	}
	var folders []string
	for _, n := range names {
		switch {
		case strings.HasPrefix(n, "MANIFEST-") || strings.HasSuffix(n, ".seg"):
			return []string{path}, nil
		case strings.HasPrefix(n, "partition-"):
			folders = append(folders, filepath.Join(path, n))
		}
	}
	if len(folders) == 0 && !slices.Contains(names, "NODE") {
		return nil, fmt.Errorf("%w: %s", errNoData, path)
	}
	slices.Sort(folders)
	return folders, nil
}

// identity reads the file NODE and compares it with the folders. A directory of
// another version is an error: nothing that is said of its files would be true.
func (s *surveyor) identity(path string, folders int, out *survey) error {
	id, err := node.ReadIdentity(s.files, path)
	switch {
	case err == nil:
		out.Node = &id
		if id.Partitions == folders {
			return nil
		}
		err = fmt.Errorf("it says %d partitions, there are %d", id.Partitions, folders)
	case !errors.Is(err, node.ErrForeign) && !errors.Is(err, fs.ErrNotExist):
		return err
	}
	out.add(segment.Finding{File: filepath.Join(path, "NODE"), State: segment.TailCorrupt, Err: err})
	return nil
}

func (s *surveyor) partition(ctx context.Context, path string, out *survey) error {
	c := s.collector(out, partitionNumber(path))
	report, err := segment.Verify(ctx, segment.Options{FS: s.files, Dir: path}, func(id record.SegmentID, f segment.Frame) error {
		return c.frame(id, &f)
	})
	if err != nil {
		return err
	}
	doc := partitionDoc{
		Path: path, Partition: report.Partition, ClusterID: report.ClusterID, Generation: report.Generation,
		Base: tip(report.Base), Last: tip(report.Last), Tail: report.Tail.String(), Segments: []segmentDoc{}, Channels: c.list(),
	}
	for i := range report.Segments {
		doc.Segments = append(doc.Segments, c.segment(&report.Segments[i]))
	}
	out.Records += report.Records
	out.Partitions = append(out.Partitions, doc)
	for _, f := range report.Findings {
		out.add(f)
	}
	out.worst(report.State())
	return nil
}

// file inspects a segment file without the manifest that it belongs to.
func (s *surveyor) file(path string, out *survey) error {
	partition, id, err := s.peek(path)
	if err != nil {
		return err
	}
	c := s.collector(out, partition)
	scan, err := segment.ScanFile(s.files, path, func(f segment.Frame) error { return c.frame(id, &f) })
	if err != nil {
		return err
	}
	report := segment.SegmentReport{Scan: scan, Info: segment.Info{
		ID: id, Path: path, State: segment.StatePrepared, First: scan.Prev.Index + 1, Last: scan.Tip.Index,
		Bytes: scan.End, FileBytes: scan.Header.FileBytes, Records: scan.Records,
	}}
	switch {
	case scan.Footer != nil:
		report.State = segment.StateSealed
	case scan.Opened:
		report.State = segment.StateActive
	}
	out.Partitions = append(out.Partitions, partitionDoc{
		Path: path, Partition: scan.Header.Partition, ClusterID: scan.Header.ClusterID, Base: tip(scan.Prev), Last: tip(scan.Tip),
		Tail: scan.Tail.String(), Segments: []segmentDoc{c.segment(&report)}, Channels: c.list(),
	})
	out.Records += scan.Records
	for _, f := range scan.Findings {
		out.add(f)
	}
	if scan.Tail != segment.TailClean {
		out.add(segment.Finding{
			File: path, Segment: id, Position: scan.Stop, Index: scan.Tip.Index + 1, State: scan.Tail, Err: scan.TailErr,
		})
	}
	return nil
}

// peek reads what a segment file says it is, for the list that begins before the
// scan has a result. Whether it is true is the scan's to say.
func (s *surveyor) peek(path string) (partition uint32, id record.SegmentID, err error) {
	f, err := s.files.Open(path)
	if err != nil {
		return 0, 0, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	head := make([]byte, segmentHeaderPeek)
	if _, err := f.ReadAt(head, 0); err != nil && !errors.Is(err, io.EOF) {
		return 0, 0, err
	}
	return binary.LittleEndian.Uint32(head[16:]), record.SegmentID(binary.LittleEndian.Uint64(head[24:])), nil
}

const segmentHeaderPeek = 32

// partitionNumber is what a folder's name says; the frames do not.
func partitionNumber(path string) uint32 {
	var n uint32
	if _, err := fmt.Sscanf(filepath.Base(path), "partition-%d", &n); err != nil {
		return 0
	}
	return n
}

func (out *survey) add(f segment.Finding) {
	d := findingDoc{File: f.File, Segment: uint64(f.Segment), Position: f.Position, Index: f.Index, State: f.State.String()}
	if f.Err != nil {
		d.Error = f.Err.Error()
	}
	out.Findings = append(out.Findings, d)
	out.worst(f.State)
}

// worst keeps the worse of two states: corrupt before uncertain before torn.
func (out *survey) worst(s segment.TailState) {
	order := []segment.TailState{segment.TailClean, segment.TailTorn, segment.TailUncertain, segment.TailCorrupt}
	if slices.Index(order, s) > slices.Index(order, out.state) {
		out.state = s
	}
}

func tip(t segment.Tip) tipDoc {
	return tipDoc{Index: t.Index, Term: t.Term, Chain: fmt.Sprintf("%016x", t.Chain)}
}

// collector adds up what the frames of one partition hold.
type collector struct {
	s         *surveyor
	out       *survey
	partition uint32
	seen      map[record.SegmentID]int64 // the last position handed on
	terms     map[record.SegmentID][]termDoc
	channels  map[record.ChannelID]*channelDoc
	batch     record.Batch
}

func (s *surveyor) collector(out *survey, partition uint32) *collector {
	return &collector{
		s: s, out: out, partition: partition, seen: make(map[record.SegmentID]int64), terms: make(map[record.SegmentID][]termDoc),
		channels: make(map[record.ChannelID]*channelDoc),
	}
}

// frame takes a frame, unless it came before: a log that changes while it is
// read is read again.
func (c *collector) frame(id record.SegmentID, f *segment.Frame) error {
	if last, ok := c.seen[id]; ok && f.Position <= last {
		return nil
	}
	c.seen[id] = f.Position
	c.out.Frames++
	c.out.Bytes += int64(f.Header.FrameBytes)
	c.s.bytes.Add(int64(f.Header.FrameBytes))
	if f.Header.Type != record.FrameSyncMarker {
		if t := c.terms[id]; len(t) == 0 || t[len(t)-1].Term != f.Header.Term {
			c.terms[id] = append(t, termDoc{f.Header.Term, f.Header.Index})
		}
	}
	if f.Header.Type == record.FrameData {
		if err := eachBatch(f.Payload, &c.batch, c.count); err != nil {
			return err
		}
	}
	if c.s.visit == nil {
		return nil
	}
	return c.s.visit(c.partition, id, f)
}

func (c *collector) count(b *record.Batch) error {
	if b.Kind != record.KindData {
		return nil
	}
	d := c.channels[b.Channel]
	if d == nil {
		d = &channelDoc{Channel: string(b.Name), ID: uint64(b.Channel), First: uint64(b.Base)}
		c.channels[b.Channel] = d
	}
	d.Last = uint64(b.Last())
	d.Records += uint64(b.Count)
	d.Batches++
	d.Bytes += uint64(len(b.Raw()))
	return nil
}

// list is sorted by name, then by id: a deleted channel may have had the name.
func (c *collector) list() []channelDoc {
	list := make([]channelDoc, 0, len(c.channels))
	for _, id := range slices.Sorted(maps.Keys(c.channels)) {
		list = append(list, *c.channels[id])
	}
	slices.SortStableFunc(list, func(a, b channelDoc) int { return strings.Compare(a.Channel, b.Channel) })
	return list
}

func (c *collector) segment(r *segment.SegmentReport) segmentDoc {
	d := segmentDoc{
		Segment: uint64(r.ID), File: filepath.Base(r.Path), State: r.State.String(), Growing: r.Growing, First: r.First,
		Last: r.Last, Records: r.Records, Bytes: r.Bytes, FileBytes: r.FileBytes, Terms: c.terms[r.ID], Tail: "unknown",
	}
	if r.Bound != segment.BoundNone {
		d.Bound = r.Bound.String()
	}
	s := r.Scan
	if s == nil {
		return d
	}
	d.Created = time.Unix(0, s.Header.Created).UTC().Format(time.RFC3339Nano)
	d.Entries, d.Markers, d.CutBytes = s.Entries, s.Markers, s.CutBytes
	d.CommitHint, d.SyncedThrough, d.Tail = s.CommitHintMax, s.SyncedThroughMax, s.Tail.String()
	if s.TailErr != nil {
		d.TailError = s.TailErr.Error()
	}
	if s.Footer != nil {
		d.Hash = fmt.Sprintf("%016x", s.Footer.Hash)
	}
	return d
}

// eachBatch visits the batches of a data payload, b being used for each. The
// bytes passed their checks; a batch that does not parse all the same is in the
// findings, and ends the visit here.
func eachBatch(payload []byte, b *record.Batch, visit func(*record.Batch) error) error {
	for len(payload) > 0 {
		n, err := record.ParseBatch(payload, b)
		if err != nil {
			return nil //nolint:nilerr // the check of the frame has found it, and says so
		}
		if err := visit(b); err != nil {
			return err
		}
		payload = payload[n:]
	}
	return nil
}
