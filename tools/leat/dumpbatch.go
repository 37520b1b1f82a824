package main

import (
	"encoding/binary"
	"strconv"
	"strings"

	"leat.dev/leat/segment/record"
)

// batches shows the batches of a data frame.
func (d *dumper) batches(at int64, payload []byte) {
	layout := batchHeaderLayout()
	head := layoutBytes(layout)
	for i := 1; len(payload) > 0; i++ {
		var b record.Batch
		n, err := record.ParseBatch(payload, &b)
		if err != nil {
			d.title("no batch: %v", err)
			d.blob(at, payload, "")
			return
		}
		raw := payload[:n]
		if b.Kind == record.KindCommand {
			d.title("batch %d: a command of %d operations", i, b.Count)
		} else {
			d.title("batch %d: records %d to %d of channel %s", i, b.Base, b.Last(), b.Name)
		}
		d.fields(at, raw, layout)
		pos := head
		if len(b.Name) > 0 {
			d.row(at+int64(pos), raw[pos:pos+len(b.Name)], "name", strconv.Quote(string(b.Name)))
			pos += len(b.Name)
		}
		d.body(at+int64(pos), &b)
		pos += len(b.Body)
		if pos < n {
			d.row(at+int64(pos), raw[pos:], "padding", "")
		}
		at, payload = at+int64(n), payload[n:]
	}
}

// body shows what a batch carries, as records where it is plain.
func (d *dumper) body(at int64, b *record.Batch) {
	table := len(b.Body) - 4*int(b.Count)
	switch {
	case b.Kind == record.KindCommand:
		d.blob(at, b.Body, "operations")
		return
	case b.Codec != record.CodecNone:
		d.blob(at, b.Body, b.Codec.String()+" body")
		return
	case table < 0:
		d.blob(at, b.Body, "body")
		return
	}
	starts := b.Body[table:]
	for k := range int(b.Count) {
		start, end := int(binary.LittleEndian.Uint32(starts[4*k:])), table
		if k+1 < int(b.Count) {
			end = int(binary.LittleEndian.Uint32(starts[4*k+4:]))
		}
		if start > end || end > table {
			d.blob(at, b.Body[:table], "records")
			break
		}
		d.title("record %d", b.Base+record.Offset(k))
		d.record(at+int64(start), b.Body[start:end])
	}
	d.title("starts of the records in the body")
	for k := range int(b.Count) {
		d.row(at+int64(table+4*k), starts[4*k:4*k+4], "start", strconv.FormatUint(uint64(binary.LittleEndian.Uint32(starts[4*k:])), 10))
	}
}

// recordFlags names the bits of a record's first byte, from the lowest.
func recordFlags(flags byte) string {
	var set []string
	for i, name := range []string{"key", "subject", "headers", "producerTime", "null"} {
		if flags&(1<<i) != 0 {
			set = append(set, name)
		}
	}
	return strings.Join(set, "|")
}

// record shows one record.
func (d *dumper) record(at int64, b []byte) {
	if len(b) == 0 {
		return
	}
	flags := b[0]
	d.row(at, b[:1], "flags", recordFlags(flags))
	at, b = at+1, b[1:]
	for i, name := range []string{"key", "subject", "headers"} {
		if flags&(1<<i) == 0 {
			continue
		}
		n, used := binary.Uvarint(b)
		if used <= 0 || n > uint64(len(b)-used) {
			d.blob(at, b, name+"?")
			return
		}
		d.row(at, b[:used], name+"Bytes", strconv.FormatUint(n, 10))
		at, b = at+int64(used), b[used:]
		if name == "headers" {
			d.headers(at, b[:n])
		} else {
			d.blob(at, b[:n], name)
		}
		at, b = at+int64(n), b[n:]
	}
	if flags&(1<<3) != 0 && len(b) >= 8 {
		d.row(at, b[:8], "producerTime", field{kind: kindTime, bytes: 8}.show(b[:8]))
		at, b = at+8, b[8:]
	}
	d.blob(at, b, "value")
}

// headers shows a record's headers, each a name and a value behind its length.
func (d *dumper) headers(at int64, list []byte) {
	for i := 0; len(list) > 0; i++ {
		n, used := binary.Uvarint(list)
		if used <= 0 || n > uint64(len(list)-used) {
			d.blob(at, list, "headers?")
			return
		}
		part := "name"
		if i%2 == 1 {
			part = "value"
		}
		d.row(at, list[:used], "  "+part+"Bytes", strconv.FormatUint(n, 10))
		d.blob(at+int64(used), list[used:used+int(n)], "  "+part)
		at, list = at+int64(used)+int64(n), list[used+int(n):]
	}
}
