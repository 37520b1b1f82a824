package main

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"leat.dev/leat/segment/record"
)

// errNoLayout is returned for a file that is neither a segment nor a manifest.
var errNoLayout = errors.New("neither a segment nor a manifest")

const (
	segmentMagic      = "LEATSEG1"
	manifestMagic     = "LEATMAN1"
	footerMagic       = "LEATEND1"
	frameMagic        = "LFRM"
	headerBlockBytes  = 4096
	headerCopyAt      = 2048
	dumpRowBytes      = 16
	frameAlignment    = 8
	footerPieceBytes  = 4
	manifestBytesMax  = 64 << 20
	footerBytesMax    = 1 << 30
	framePayloadLimit = record.PayloadBytesMax
)

func (i *inspectCommand) runDump(out io.Writer, path string) (err error) {
	if i.dump <= 0 || i.at < 0 || i.at%frameAlignment != 0 {
		return fmt.Errorf("--dump %d --at %d: want a number of bytes, and a position that is a multiple of %d", i.dump, i.at, frameAlignment)
	}
	f, err := regularFiles{}.Open(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	size, err := f.Size()
	if err != nil {
		return err
	}
	d := &dumper{in: f, size: size, end: min(size, i.at+i.dump), out: out}
	if err := d.file(i.at); err != nil {
		return fmt.Errorf("dump %s: %w", path, err)
	}
	return nil
}

// dumper shows bytes with the names of their fields: position, bytes, name,
// value. It trusts nothing: what is no structure is shown as bytes.
type dumper struct {
	in   io.ReaderAt
	size int64
	end  int64 // structures that begin here or later are not shown
	out  io.Writer
}

func (d *dumper) read(at, n int64) ([]byte, error) {
	b := make([]byte, max(0, min(n, d.size-at)))
	if _, err := d.in.ReadAt(b, at); err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("read at %d: %w", at, err)
	}
	return b, nil
}

func (d *dumper) file(at int64) error {
	magic, err := d.read(0, 8)
	if err != nil {
		return err
	}
	switch string(magic) {
	case segmentMagic:
		return d.segment(at)
	case manifestMagic:
		return d.manifest()
	}
	return fmt.Errorf("%w: it begins with %q", errNoLayout, magic)
}

func (d *dumper) title(format string, args ...any) {
	fmt.Fprintf(d.out, "-- "+format+"\n", args...)
}

// row shows the bytes of one field.
func (d *dumper) row(at int64, b []byte, name, value string) {
	for first := true; first || len(b) > 0; first = false {
		n := min(dumpRowBytes, len(b))
		text := strings.TrimRight(fmt.Sprintf("%08x  %-47s  %-14s %s", at, fmt.Sprintf("% x", b[:n]), name, value), " ")
		fmt.Fprintln(d.out, text)
		at, b, name, value = at+int64(n), b[n:], "", ""
	}
}

// blob shows bytes without structure, and their text beside them.
func (d *dumper) blob(at int64, b []byte, name string) {
	for len(b) > 0 {
		n := min(dumpRowBytes, len(b))
		d.row(at, b[:n], name, printable(b[:n]))
		at, b, name = at+int64(n), b[n:], ""
	}
}

func printable(b []byte) string {
	var s strings.Builder
	for _, c := range b {
		if c < ' ' || c > '~' {
			c = '.'
		}
		s.WriteByte(c)
	}
	return s.String()
}

// zeros shows a run of zeros by its length.
func (d *dumper) zeros(at, n int64, name string) {
	if n > 0 {
		text := fmt.Sprintf("%08x  %-47s  %s", at, grouped(uint64(n))+" bytes of 00", name)
		fmt.Fprintln(d.out, strings.TrimRight(text, " "))
	}
}

// fields shows a structure; src holds at least its bytes.
func (d *dumper) fields(at int64, src []byte, layout []field) {
	for _, f := range layout {
		b := src[:f.bytes]
		src = src[f.bytes:]
		if len(b) > dumpRowBytes && len(bytes.TrimRight(b, "\x00")) <= dumpRowBytes {
			d.row(at, b[:dumpRowBytes], f.name, f.show(b))
			d.zeros(at+dumpRowBytes, int64(f.bytes-dumpRowBytes), "")
		} else {
			d.row(at, b, f.name, f.show(b))
		}
		at += int64(f.bytes)
	}
}

// segment shows a segment file from the given position on.
func (d *dumper) segment(at int64) error {
	if at < headerBlockBytes {
		if err := d.headerBlock(); err != nil {
			return err
		}
		at = headerBlockBytes
	}
	footer, err := d.footerPosition()
	if err != nil {
		return err
	}
	for at < min(d.end, footer) {
		n, err := d.frame(at, footer)
		if err != nil {
			return err
		}
		if n == 0 {
			break
		}
		at += n
	}
	if at >= d.end {
		return nil
	}
	if err := d.behindFrames(at, min(footer, d.end)); err != nil {
		return err
	}
	if footer >= d.end {
		return nil
	}
	return d.footer(footer)
}

func (d *dumper) headerBlock() error {
	b, err := d.read(0, headerBlockBytes)
	if err != nil {
		return err
	}
	layout := segmentHeaderLayout()
	n := layoutBytes(layout)
	if len(b) < headerBlockBytes {
		d.blob(0, b, "cut short")
		return nil
	}
	d.title("segment header")
	d.fields(0, b, layout)
	d.rest(int64(n), b[n:headerCopyAt])
	if bytes.Equal(b[:headerCopyAt], b[headerCopyAt:]) {
		fmt.Fprintf(d.out, "%08x  %-47s  %s\n", headerCopyAt, "the same 2,048 bytes again", "copy")
		return nil
	}
	d.title("copy of the header, which DIFFERS")
	d.fields(headerCopyAt, b[headerCopyAt:], layout)
	d.rest(int64(headerCopyAt+n), b[headerCopyAt+n:])
	return nil
}

// rest shows bytes that should be zero.
func (d *dumper) rest(at int64, b []byte) {
	if len(bytes.TrimLeft(b, "\x00")) == 0 {
		d.zeros(at, int64(len(b)), "zero")
		return
	}
	d.blob(at, b, "NOT ZERO")
}

// footerPosition is where the footer begins; the end of the file when there is
// none.
func (d *dumper) footerPosition() (int64, error) {
	layout := trailerLayout()
	n := int64(layoutBytes(layout))
	if d.size < headerBlockBytes+n {
		return d.size, nil
	}
	b, err := d.read(d.size-n, n)
	if err != nil {
		return 0, err
	}
	if string(b[n-8:]) != footerMagic {
		return d.size, nil
	}
	bytes := int64(fieldNumber(layout, b, "footerBytes"))
	if bytes < n || bytes > footerBytesMax || d.size-bytes < headerBlockBytes {
		return d.size, nil
	}
	return d.size - bytes, nil
}

// frame shows the frame at a position, and returns its length; 0 when there is
// none.
func (d *dumper) frame(at, footer int64) (int64, error) {
	layout := frameHeaderLayout()
	head := int64(layoutBytes(layout))
	b, err := d.read(at, head)
	if err != nil || int64(len(b)) < head || string(b[:4]) != frameMagic {
		return 0, err
	}
	frameBytes, payloadBytes := int64(fieldNumber(layout, b, "frameBytes")), int64(fieldNumber(layout, b, "payloadBytes"))
	if frameBytes%frameAlignment != 0 || payloadBytes > framePayloadLimit || frameBytes < head+payloadBytes || at+frameBytes > footer {
		return 0, nil
	}
	typ := record.FrameType(fieldNumber(layout, b, "type"))
	d.title("frame: %s, entry %d", typ, fieldNumber(layout, b, "index"))
	d.fields(at, b, layout)
	body, err := d.read(at+head, frameBytes-head)
	if err != nil {
		return 0, err
	}
	payload, end := body[:payloadBytes], body[payloadBytes:]
	if typ == record.FrameData {
		d.batches(at+head, payload)
	} else {
		d.blob(at+head, payload, "payload")
	}
	if len(end) > 0 {
		d.row(at+head+payloadBytes, end, "end", "")
	}
	return frameBytes, nil
}

// behindFrames shows what lies between the last frame and the footer.
func (d *dumper) behindFrames(at, footer int64) error {
	const step = 1 << 20
	zeros := int64(0)
	for pos := at; pos < footer; pos += step {
		b, err := d.read(pos, min(step, footer-pos))
		if err != nil {
			return err
		}
		if n := len(b) - len(bytes.TrimLeft(b, "\x00")); n < len(b) {
			zeros += int64(n)
			break
		}
		zeros += int64(len(b))
	}
	if footer > at {
		d.title("behind the last frame")
	}
	d.zeros(at, zeros, "zero")
	if at+zeros == footer {
		return nil
	}
	b, err := d.read(at+zeros, min(footer-at-zeros, headerBlockBytes))
	if err != nil {
		return err
	}
	d.blob(at+zeros, b, "no frame")
	return nil
}

// footer shows a footer whose length has been looked at.
func (d *dumper) footer(at int64) error {
	b, err := d.read(at, d.size-at)
	if err != nil {
		return err
	}
	layout := trailerLayout()
	tail := b[len(b)-layoutBytes(layout):]
	number := func(name string) int { return int(fieldNumber(layout, tail, name)) }
	channel, batch := footerChannelLayout(), footerBatchLayout()
	entries, channels, batches, names := number("entries"), number("channels"), number("batches"), number("nameBytes")
	positions := round8(footerPieceBytes * entries)
	want := positions + layoutBytes(channel)*channels + layoutBytes(batch)*batches + round8(names) + layoutBytes(layout)
	if want != len(b) {
		d.title("footer whose parts do not make up its length")
		d.blob(at, b[:len(b)-len(tail)], "")
		d.fields(at+int64(len(b)-len(tail)), tail, layout)
		return nil
	}
	take := func(n int) (int64, []byte) {
		part, pos := b[:n], at
		b, at = b[n:], at+int64(n)
		return pos, part
	}
	d.title("footer: positions of %d frames", entries)
	pos, part := take(positions)
	for i := 0; i < len(part); i += footerPieceBytes {
		name := "padding"
		if i/footerPieceBytes < entries {
			name = "position"
		}
		d.row(pos+int64(i), part[i:i+footerPieceBytes], name, strconv.FormatUint(uint64(binary.LittleEndian.Uint32(part[i:])), 10))
	}
	for i := range channels {
		pos, part := take(layoutBytes(channel))
		d.title("footer: channel %d of %d", i+1, channels)
		d.fields(pos, part, channel)
	}
	for i := range batches {
		pos, part := take(layoutBytes(batch))
		d.title("footer: batch %d of %d", i+1, batches)
		d.fields(pos, part, batch)
	}
	d.title("footer: names")
	pos, part = take(round8(names))
	d.blob(pos, part, "names")
	d.title("footer: trailer")
	pos, part = take(layoutBytes(layout))
	d.fields(pos, part, layout)
	return nil
}

func round8(n int) int { return (n + 7) &^ 7 }

// manifest shows a manifest file.
func (d *dumper) manifest() error {
	b, err := d.read(0, min(d.size, manifestBytesMax))
	if err != nil {
		return err
	}
	layout, row := manifestLayout(), manifestSegmentLayout()
	if len(b) < layoutBytes(layout) {
		d.blob(0, b, "cut short")
		return nil
	}
	d.title("manifest")
	d.fields(0, b, layout)
	at := layoutBytes(layout)
	for i := 1; at+layoutBytes(row) <= len(b) && int64(at) < d.end; i++ {
		d.title("manifest: segment %d of %d", i, fieldNumber(layout, b, "segments"))
		d.fields(int64(at), b[at:], row)
		at += layoutBytes(row)
	}
	if at < len(b) && int64(at) < d.end {
		d.blob(int64(at), b[at:], "behind it")
	}
	return nil
}
