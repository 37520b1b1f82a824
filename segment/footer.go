package segment

import (
	"encoding/binary"
	"fmt"
	"sort"

	"leat.dev/leat/segment/record"
)

// The footer of a sealed segment; FORMAT.md has the boxes.
const (
	footerChannelBytes = 72
	footerBatchBytes   = 24
	trailerBytes       = 128
	trailerCRC         = 112 // where the checksum is, and how far it reaches

	footerMagic = "LEATEND1"
)

// trailer is the fixed part of a footer.
type trailer struct {
	Segment   record.SegmentID
	Partition uint32
	End       uint32
	Prev      Tip // the entry before the segment's first
	Last      Tip
	Hash      uint64
	Entries   uint32
	Channels  uint32
	Batches   uint32
	NameBytes uint32
	Records   uint64

	CRC         uint32
	FooterBytes uint32
}

func footerBytes(entries, channels, batches, nameBytes int) int {
	return pad8(4*entries) + footerChannelBytes*channels + footerBatchBytes*batches + pad8(nameBytes) + trailerBytes
}

// appendTrailer ends the footer that begins at dst[at], and sets t's checksum
// and length.
func appendTrailer(dst []byte, at int, t *trailer) []byte {
	le := binary.LittleEndian
	dst = le.AppendUint64(dst, uint64(t.Segment))
	dst = le.AppendUint32(dst, t.Partition)
	dst = le.AppendUint32(dst, t.End)
	dst = le.AppendUint64(dst, t.Prev.Index+1)
	dst = le.AppendUint64(dst, t.Prev.Term)
	dst = le.AppendUint64(dst, t.Prev.Chain)
	dst = le.AppendUint64(dst, t.Last.Index)
	dst = le.AppendUint64(dst, t.Last.Term)
	dst = le.AppendUint64(dst, t.Last.Chain)
	dst = le.AppendUint64(dst, t.Hash)
	dst = le.AppendUint32(dst, t.Entries)
	dst = le.AppendUint32(dst, t.Channels)
	dst = le.AppendUint32(dst, t.Batches)
	dst = le.AppendUint32(dst, t.NameBytes)
	dst = le.AppendUint64(dst, t.Records)
	dst = le.AppendUint32(dst, formatVersion)
	dst = append(dst, zeros[:12]...)
	t.CRC = record.Checksum(dst[at:])
	t.FooterBytes = uint32(len(dst) - at + trailerBytes - trailerCRC)
	dst = le.AppendUint32(dst, t.CRC)
	dst = le.AppendUint32(dst, t.FooterBytes)
	return append(dst, footerMagic...)
}

// footer is a view of an encoded footer. After parseFooter returned nil, all
// that its methods read lies inside of it.
type footer struct {
	trailer
	start     int64 // position in the file
	positions []byte
	channels  []byte
	batches   []byte
	names     []byte
}

// parseFooter finds the footer at the end of file, which is the whole segment
// or its end, and checks it. fileBytes is the file's length.
func parseFooter(file []byte, fileBytes int64) (*footer, error) {
	if len(file) < trailerBytes {
		return nil, record.ErrShort
	}
	t := file[len(file)-trailerBytes:]
	le := binary.LittleEndian
	if string(t[120:]) != footerMagic {
		return nil, fmt.Errorf("%w: footer magic %q, want %q", record.ErrFormat, t[120:], footerMagic)
	}
	f := &footer{trailer: trailer{
		Segment:     record.SegmentID(le.Uint64(t[0:])),
		Partition:   le.Uint32(t[8:]),
		End:         le.Uint32(t[12:]),
		Prev:        Tip{Index: le.Uint64(t[16:]) - 1, Term: le.Uint64(t[24:]), Chain: le.Uint64(t[32:])},
		Last:        Tip{Index: le.Uint64(t[40:]), Term: le.Uint64(t[48:]), Chain: le.Uint64(t[56:])},
		Hash:        le.Uint64(t[64:]),
		Entries:     le.Uint32(t[72:]),
		Channels:    le.Uint32(t[76:]),
		Batches:     le.Uint32(t[80:]),
		NameBytes:   le.Uint32(t[84:]),
		Records:     le.Uint64(t[88:]),
		CRC:         le.Uint32(t[112:]),
		FooterBytes: le.Uint32(t[116:]),
	}}
	n := int64(f.FooterBytes)
	if n < trailerBytes || n > int64(len(file)) || n > fileBytes-headerBlockBytes {
		return nil, fmt.Errorf("%w: footer of %d bytes in a file of %d", record.ErrFormat, n, fileBytes)
	}
	// The counts are below 2³², so none of these products overflows.
	if want := footerBytes(int(f.Entries), int(f.Channels), int(f.Batches), int(f.NameBytes)); int64(want) != n {
		return nil, fmt.Errorf("%w: footer of %d bytes whose parts make %d", record.ErrFormat, n, want)
	}
	raw := file[int64(len(file))-n:]
	if got := record.Checksum(raw[:n-trailerBytes+trailerCRC]); got != f.CRC {
		return nil, fmt.Errorf("%w: footer has CRC %08x, it says %08x", record.ErrChecksum, got, f.CRC)
	}
	if v := le.Uint32(t[96:]); v != formatVersion {
		return nil, fmt.Errorf("%w: footer of version %d, want %d", record.ErrFormat, v, formatVersion)
	}
	f.start = fileBytes - n
	f.split(raw)
	return f, f.check(raw, t)
}

func (f *footer) split(raw []byte) {
	take := func(n int) (part []byte) {
		part, raw = raw[:n:n], raw[n:]
		return part
	}
	f.positions = take(pad8(4 * int(f.Entries)))[:4*f.Entries]
	f.channels = take(footerChannelBytes * int(f.Channels))
	f.batches = take(footerBatchBytes * int(f.Batches))
	f.names = take(int(f.NameBytes))
}

// check looks at everything that a reader later uses without a check.
func (f *footer) check(raw, t []byte) error {
	le := binary.LittleEndian
	switch {
	case !allZero(t[100:112]),
		!allZero(raw[4*f.Entries : pad8(4*int(f.Entries))]),
		!allZero(raw[len(raw)-trailerBytes-(pad8(int(f.NameBytes))-int(f.NameBytes)) : len(raw)-trailerBytes]):
		return fmt.Errorf("%w: reserved bytes of the footer are set", record.ErrFormat)
	case int64(f.End) > f.start || f.End < headerBlockBytes || f.Last.Index-f.Prev.Index != uint64(f.Entries):
		return fmt.Errorf("%w: footer of entries %d to %d that end at %d", record.ErrFormat, f.Prev.Index+1, f.Last.Index, f.End)
	}
	before := uint32(headerBlockBytes - 1)
	for i := range int(f.Entries) {
		p := f.position(i)
		if p <= before || p >= f.End {
			return fmt.Errorf("%w: footer puts entry %d at %d", record.ErrFormat, f.Prev.Index+1+uint64(i), p)
		}
		before = p
	}
	names, batches := uint32(0), uint32(0)
	for i := range int(f.Channels) {
		row := f.channels[i*footerChannelBytes:]
		id, n := le.Uint64(row), le.Uint32(row[20:])
		if i > 0 && id <= le.Uint64(f.channels[(i-1)*footerChannelBytes:]) || n == 0 ||
			le.Uint32(row[8:]) != names || le.Uint32(row[16:]) != batches ||
			le.Uint32(row[12:]) > f.NameBytes-names || n > f.Batches-batches {
			return fmt.Errorf("%w: footer's row of channel %d", record.ErrFormat, id)
		}
		names, batches = names+le.Uint32(row[12:]), batches+n
	}
	if names != f.NameBytes || batches != f.Batches {
		return fmt.Errorf("%w: footer's channels have %d batches of %d", record.ErrFormat, batches, f.Batches)
	}
	for i := range int(f.Batches) {
		if p := le.Uint32(f.batches[i*footerBatchBytes:]); p < headerBlockBytes || p >= f.End {
			return fmt.Errorf("%w: footer puts a batch at %d", record.ErrFormat, p)
		}
	}
	return nil
}

func (f *footer) position(i int) uint32 { return binary.LittleEndian.Uint32(f.positions[4*i:]) }

// channel finds a channel's batches.
func (f *footer) channel(id record.ChannelID) refList {
	le := binary.LittleEndian
	n := int(f.Channels)
	i := sort.Search(n, func(i int) bool { return le.Uint64(f.channels[i*footerChannelBytes:]) >= uint64(id) })
	if i == n || le.Uint64(f.channels[i*footerChannelBytes:]) != uint64(id) {
		return refList{}
	}
	return f.refs(f.channels[i*footerChannelBytes:])
}

func (f *footer) refs(row []byte) refList {
	le := binary.LittleEndian
	first, n := int(le.Uint32(row[16:])), int(le.Uint32(row[20:]))
	return refList{raw: f.batches[first*footerBatchBytes : (first+n)*footerBatchBytes]}
}

// extents calls visit for each data channel, in order, until it returns false.
func (f *footer) extents(visit func(ch record.ChannelID, name []byte, e Extent) bool) {
	le := binary.LittleEndian
	for i := range int(f.Channels) {
		row := f.channels[i*footerChannelBytes:]
		id := record.ChannelID(le.Uint64(row))
		if id == 0 {
			continue
		}
		start := le.Uint32(row[8:])
		e := Extent{
			First:   record.Offset(le.Uint64(row[56:])),
			Last:    record.Offset(le.Uint64(row[64:])),
			TimeMin: int64(le.Uint64(row[40:])),
			TimeMax: int64(le.Uint64(row[48:])),
			Records: le.Uint64(row[24:]),
			Bytes:   le.Uint64(row[32:]),
			Batches: uint64(le.Uint32(row[20:])),
		}
		if !visit(id, f.names[start:start+le.Uint32(row[12:])], e) {
			return
		}
	}
}

// trailerFooterBytes is the length that the trailer at the end of file claims.
func trailerFooterBytes(file []byte) uint32 {
	return binary.LittleEndian.Uint32(file[len(file)-trailerBytes+116:])
}
