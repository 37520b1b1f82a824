package segment

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"leat.dev/leat/segment/record"
)

// The header block of a segment file; FORMAT.md has the box.
const (
	formatVersion    = 1
	headerBlockBytes = 4096
	headerCopyBytes  = headerBlockBytes / 2

	segmentMagic = "LEATSEG1"
)

// header says what a segment file is. It is fixed when the file is prepared.
type header struct {
	Partition uint32
	FileBytes uint32
	Segment   record.SegmentID
	Created   int64
	Cluster   string
}

// appendHeaderBlock appends the block with both copies.
func appendHeaderBlock(dst []byte, h *header) []byte {
	var b [headerCopyBytes]byte
	le := binary.LittleEndian
	copy(b[0:], segmentMagic)
	le.PutUint32(b[8:], formatVersion)
	le.PutUint32(b[16:], h.Partition)
	le.PutUint32(b[20:], h.FileBytes)
	le.PutUint64(b[24:], uint64(h.Segment))
	le.PutUint64(b[32:], uint64(h.Created))
	b[40] = byte(len(h.Cluster))
	copy(b[48:48+ClusterIDBytesMax], h.Cluster)
	le.PutUint32(b[12:], record.Checksum(b[16:]))
	dst = append(dst, b[:]...)
	return append(dst, b[:]...)
}

// parseHeaderCopy reads one of the two copies.
func parseHeaderCopy(file string, src []byte) (header, error) {
	var h header
	if len(src) < headerCopyBytes {
		return h, record.ErrShort
	}
	src = src[:headerCopyBytes]
	le := binary.LittleEndian
	if string(src[:8]) != segmentMagic {
		return h, fmt.Errorf("%w: header magic %q, want %q", record.ErrFormat, src[:8], segmentMagic)
	}
	if v := le.Uint32(src[8:]); v != formatVersion {
		return h, &VersionError{File: file, Got: v, Want: formatVersion}
	}
	if got, want := record.Checksum(src[16:]), le.Uint32(src[12:]); got != want {
		return h, fmt.Errorf("%w: header block has CRC %08x, it says %08x", record.ErrChecksum, got, want)
	}
	cluster, err := parseCluster(src[40:112])
	if err != nil {
		return h, err
	}
	if !allZero(src[112:]) {
		return h, fmt.Errorf("%w: reserved bytes of the header block are set", record.ErrFormat)
	}
	return header{
		Partition: le.Uint32(src[16:]),
		FileBytes: le.Uint32(src[20:]),
		Segment:   record.SegmentID(le.Uint64(src[24:])),
		Created:   int64(le.Uint64(src[32:])),
		Cluster:   cluster,
	}, nil
}

// parseHeaderBlock takes the first copy that is whole. damaged is what is wrong
// with the other one; nil when both are whole and equal.
func parseHeaderBlock(file string, src []byte) (h header, damaged, err error) {
	if len(src) < headerBlockBytes {
		return h, nil, record.ErrShort
	}
	first, err1 := parseHeaderCopy(file, src)
	second, err2 := parseHeaderCopy(file, src[headerCopyBytes:])
	switch {
	case err1 != nil && err2 != nil:
		return h, nil, err1
	case err1 != nil:
		return second, fmt.Errorf("first copy of the header: %w", err1), nil
	case err2 != nil:
		return first, fmt.Errorf("second copy of the header: %w", err2), nil
	case first != second:
		return h, nil, fmt.Errorf("%w: the copies of the header block differ", record.ErrFormat)
	}
	return first, nil, nil
}

// parseCluster reads the field that header block and manifest share: a length,
// 7 zeros, 64 bytes.
func parseCluster(src []byte) (string, error) {
	n := int(src[0])
	if n > ClusterIDBytesMax || !allZero(src[1:8]) || !allZero(src[8+n:8+ClusterIDBytesMax]) {
		return "", fmt.Errorf("%w: cluster id", record.ErrFormat)
	}
	return string(src[8 : 8+n]), nil
}

var zeros [4096]byte

// allZero compares by blocks, which is many times faster than byte by byte.
func allZero(p []byte) bool { return zeroPrefix(p) == len(p) }

// zeroPrefix counts the zero bytes at the front of p.
func zeroPrefix(p []byte) int {
	n := 0
	for len(p)-n >= len(zeros) && bytes.Equal(p[n:n+len(zeros)], zeros[:]) {
		n += len(zeros)
	}
	for n < len(p) && p[n] == 0 {
		n++
	}
	return n
}

// lastNonZero is one more than the place of the last byte of p that is set.
func lastNonZero(p []byte) int {
	n := len(p)
	for n >= len(zeros) && bytes.Equal(p[n-len(zeros):n], zeros[:]) {
		n -= len(zeros)
	}
	for n > 0 && p[n-1] == 0 {
		n--
	}
	return n
}

func pad8(n int) int { return (n + 7) &^ 7 }
