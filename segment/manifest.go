package segment

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"leat.dev/leat/segment/record"
	"leat.dev/leat/segment/vfs"
)

// The manifest; FORMAT.md has the box.
const (
	manifestMagic       = "LEATMAN1"
	manifestPrefix      = "MANIFEST-"
	manifestHeaderBytes = 136
	manifestRowBytes    = 80
	manifestBytesMax    = 64 << 20
)

// fileState is a segment's state in the manifest.
type fileState uint8

const (
	fileCreated fileState = 1
	fileSealed  fileState = 2
	fileRetired fileState = 3
)

// Bound says why a segment ends before its last byte.
type Bound uint8

// The reasons for a bound.
const (
	BoundNone      Bound = 0
	BoundSuffix    Bound = 1 // Raft took entries back
	BoundTorn      Bound = 2 // recovery cut a torn tail
	BoundUncertain Bound = 3 // recovery cut an uncertain tail, by leave of the operator
)

// String returns the name that the inspector prints.
func (b Bound) String() string {
	switch b {
	case BoundNone:
		return "none"
	case BoundSuffix:
		return "suffix-truncated"
	case BoundTorn:
		return "torn-tail-cut"
	case BoundUncertain:
		return "uncertain-tail-cut"
	}
	return fmt.Sprintf("bound(%d)", uint8(b))
}

// manifestRow is one segment.
type manifestRow struct {
	ID          record.SegmentID
	State       fileState
	Bound       Bound
	FileBytes   uint32
	End         uint32
	CutBytes    uint32
	FirstIndex  uint64
	Last        Tip
	Hash        uint64
	FooterCRC   uint32
	FooterBytes uint32
	Records     uint64
}

// manifest is the state of a folder.
type manifest struct {
	Generation uint64
	Partition  uint32
	Next       record.SegmentID
	Base       Tip
	Cluster    string
	Rows       []manifestRow // by ID
}

func (m *manifest) clone() *manifest {
	c := *m
	c.Rows = slices.Clone(m.Rows)
	return &c
}

// row finds a segment; nil when it is not listed.
func (m *manifest) row(id record.SegmentID) *manifestRow {
	i, ok := slices.BinarySearchFunc(m.Rows, id, func(r manifestRow, id record.SegmentID) int {
		return int(int64(r.ID) - int64(id))
	})
	if !ok {
		return nil
	}
	return &m.Rows[i]
}

func (m *manifest) appendTo(dst []byte) []byte {
	at := len(dst)
	le := binary.LittleEndian
	dst = append(dst, manifestMagic...)
	dst = le.AppendUint32(dst, formatVersion)
	dst = le.AppendUint32(dst, 0)
	dst = le.AppendUint64(dst, m.Generation)
	dst = le.AppendUint32(dst, m.Partition)
	dst = le.AppendUint32(dst, uint32(len(m.Rows)))
	dst = le.AppendUint64(dst, uint64(m.Next))
	dst = le.AppendUint64(dst, m.Base.Index)
	dst = le.AppendUint64(dst, m.Base.Term)
	dst = le.AppendUint64(dst, m.Base.Chain)
	dst = append(dst, byte(len(m.Cluster)), 0, 0, 0, 0, 0, 0, 0)
	dst = append(dst, m.Cluster...)
	dst = append(dst, zeros[:ClusterIDBytesMax-len(m.Cluster)]...)
	for i := range m.Rows {
		r := &m.Rows[i]
		dst = le.AppendUint64(dst, uint64(r.ID))
		dst = append(dst, byte(r.State), byte(r.Bound), 0, 0)
		dst = le.AppendUint32(dst, r.FileBytes)
		dst = le.AppendUint32(dst, r.End)
		dst = le.AppendUint32(dst, r.CutBytes)
		dst = le.AppendUint64(dst, r.FirstIndex)
		dst = le.AppendUint64(dst, r.Last.Index)
		dst = le.AppendUint64(dst, r.Last.Term)
		dst = le.AppendUint64(dst, r.Last.Chain)
		dst = le.AppendUint64(dst, r.Hash)
		dst = le.AppendUint32(dst, r.FooterCRC)
		dst = le.AppendUint32(dst, r.FooterBytes)
		dst = le.AppendUint64(dst, r.Records)
	}
	le.PutUint32(dst[at+12:], record.Checksum(dst[at+16:]))
	return dst
}

func parseManifest(file string, src []byte) (*manifest, error) {
	if len(src) < manifestHeaderBytes {
		return nil, record.ErrShort
	}
	le := binary.LittleEndian
	if string(src[:8]) != manifestMagic {
		return nil, fmt.Errorf("%w: manifest magic %q, want %q", record.ErrFormat, src[:8], manifestMagic)
	}
	if v := le.Uint32(src[8:]); v != formatVersion {
		return nil, &VersionError{File: file, Got: v, Want: formatVersion}
	}
	if got, want := record.Checksum(src[16:]), le.Uint32(src[12:]); got != want {
		return nil, fmt.Errorf("%w: manifest has CRC %08x, it says %08x", record.ErrChecksum, got, want)
	}
	cluster, err := parseCluster(src[64:manifestHeaderBytes])
	if err != nil {
		return nil, err
	}
	n := int(le.Uint32(src[28:]))
	if n*manifestRowBytes != len(src)-manifestHeaderBytes {
		return nil, fmt.Errorf("%w: manifest of %d segments in %d bytes", record.ErrFormat, n, len(src))
	}
	m := &manifest{
		Generation: le.Uint64(src[16:]),
		Partition:  le.Uint32(src[24:]),
		Next:       record.SegmentID(le.Uint64(src[32:])),
		Base:       Tip{Index: le.Uint64(src[40:]), Term: le.Uint64(src[48:]), Chain: le.Uint64(src[56:])},
		Cluster:    cluster,
		Rows:       make([]manifestRow, n),
	}
	for i := range m.Rows {
		if err := m.parseRow(i, src[manifestHeaderBytes+i*manifestRowBytes:]); err != nil {
			return nil, err
		}
	}
	return m, nil
}

func (m *manifest) parseRow(i int, b []byte) error {
	le := binary.LittleEndian
	m.Rows[i] = manifestRow{
		ID:          record.SegmentID(le.Uint64(b)),
		State:       fileState(b[8]),
		Bound:       Bound(b[9]),
		FileBytes:   le.Uint32(b[12:]),
		End:         le.Uint32(b[16:]),
		CutBytes:    le.Uint32(b[20:]),
		FirstIndex:  le.Uint64(b[24:]),
		Last:        Tip{Index: le.Uint64(b[32:]), Term: le.Uint64(b[40:]), Chain: le.Uint64(b[48:])},
		Hash:        le.Uint64(b[56:]),
		FooterCRC:   le.Uint32(b[64:]),
		FooterBytes: le.Uint32(b[68:]),
		Records:     le.Uint64(b[72:]),
	}
	r := &m.Rows[i]
	switch {
	case le.Uint16(b[10:]) != 0,
		r.State < fileCreated || r.State > fileRetired,
		r.Bound > BoundUncertain,
		r.ID == 0 || r.ID >= m.Next || i > 0 && r.ID <= m.Rows[i-1].ID,
		r.FileBytes < SegmentBytesMin || r.FileBytes > SegmentBytesMax,
		r.State == fileCreated && r.Bound == BoundNone && !allZero(b[16:manifestRowBytes]),
		r.State == fileSealed && (r.FooterBytes < trailerBytes || r.FooterBytes > r.FileBytes),
		(r.State == fileSealed || r.Bound != BoundNone) && (r.End < headerBlockBytes || r.End > r.FileBytes):
		return fmt.Errorf("%w: manifest's row of segment %d", record.ErrFormat, r.ID)
	}
	return nil
}

func manifestName(generation uint64) string {
	return fmt.Sprintf("%s%016x", manifestPrefix, generation)
}

func segmentName(id record.SegmentID) string {
	return fmt.Sprintf("%016x%s", uint64(id), segmentSuffix)
}

const (
	segmentSuffix = ".seg"
	tmpSuffix     = ".tmp"
	orphansDir    = "orphans"
)

// parseName takes the number out of the name of a manifest or a segment.
func parseName(name, prefix, suffix string) (uint64, bool) {
	s, ok := strings.CutPrefix(name, prefix)
	if !ok {
		return 0, false
	}
	if s, ok = strings.CutSuffix(s, suffix); !ok || len(s) != 16 {
		return 0, false
	}
	n, err := strconv.ParseUint(s, 16, 64)
	return n, err == nil
}

// generations lists the manifests among names, the highest first.
func generations(names []string) []uint64 {
	var found []uint64
	for _, name := range names {
		if g, ok := parseName(name, manifestPrefix, ""); ok {
			found = append(found, g)
		}
	}
	slices.Sort(found)
	slices.Reverse(found)
	return found
}

// loadManifest reads the manifest of the given generation.
func loadManifest(fsys vfs.FS, dir string, generation uint64) (*manifest, error) {
	name := filepath.Join(dir, manifestName(generation))
	info, err := fsys.Stat(name)
	if err != nil {
		return nil, fmt.Errorf("read manifest: %w", err)
	}
	if info.SizeBytes > manifestBytesMax {
		return nil, &CorruptionError{File: name, Err: fmt.Errorf("%w: manifest of %d bytes", record.ErrTooLarge, info.SizeBytes)}
	}
	src, err := vfs.ReadFile(fsys, name)
	if err != nil {
		return nil, fmt.Errorf("read manifest: %w", err)
	}
	m, err := parseManifest(name, src)
	if version := (*VersionError)(nil); errors.As(err, &version) {
		return nil, err
	}
	if err == nil && m.Generation != generation {
		err = fmt.Errorf("%w: manifest of generation %d", record.ErrFormat, m.Generation)
	}
	if err != nil {
		return nil, &CorruptionError{File: name, Err: err}
	}
	return m, nil
}

// editManifest writes a changed copy of the manifest, makes it durable, and
// keeps it. The caller holds fileMu. On ErrNoSpace, and when the process or the
// system was out of descriptors or memory before anything had its name, nothing
// has changed; on any other error the log is poisoned.
func (l *Log) editManifest(change func(m *manifest)) error {
	if err := l.Poisoned(); err != nil {
		return err
	}
	m := l.manifest.clone()
	// Rows whose files are gone for good need no mention any more.
	m.Rows = slices.DeleteFunc(m.Rows, func(r manifestRow) bool { return r.State == fileRetired && l.removed[r.ID] })
	change(m)
	l.generation++
	m.Generation = l.generation
	name := filepath.Join(l.o.Dir, manifestName(m.Generation))
	if err := vfs.WriteFileAtomic(l.o.FS, name, m.appendTo(nil)); err != nil {
		if _, statErr := l.o.FS.Stat(name); errors.Is(statErr, fs.ErrNotExist) {
			switch {
			case isNoSpace(err):
				return fmt.Errorf("write manifest: %w: %w", ErrNoSpace, err)
			case isExhausted(err):
				return fmt.Errorf("write manifest: %w", err)
			}
		}
		return l.poison(fmt.Errorf("write manifest: %w", err))
	}
	clear(l.removed)
	// A power cut may bring older generations back, which does no harm, so their
	// removal needs no sync.
	for _, g := range l.generations {
		if g < l.manifest.Generation {
			_ = l.o.FS.Remove(filepath.Join(l.o.Dir, manifestName(g)))
		}
	}
	l.generations = append(l.generations[:0], l.manifest.Generation, m.Generation)
	l.manifest = m
	return nil
}
