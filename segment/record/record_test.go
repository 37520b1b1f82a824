package record_test

import (
	"bytes"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"leat.dev/leat/segment/record"
)

var codecs = []record.Codec{record.CodecNone, record.CodecS2, record.CodecZstd}

// samples are records with every combination of fields, none and empty apart.
func samples() []record.Record {
	var all []record.Record
	parts := [][]byte{nil, {}, []byte("part"), bytes.Repeat([]byte("long "), 300)}
	for _, key := range parts {
		for _, subject := range parts {
			for _, headers := range [][]byte{nil, {}, record.AppendHeader(record.AppendHeader(nil, []byte("a"), []byte{0, 255}), []byte("a"), nil)} {
				for _, value := range parts {
					r := record.Record{Key: key, Subject: subject, Headers: headers, Value: value}
					if len(all)%3 == 0 {
						r.HasProducerTime, r.ProducerTime = true, int64(len(all))-50
					}
					all = append(all, r)
				}
			}
		}
	}
	return all
}

func encode(codec record.Codec, records []record.Record) []byte {
	var b record.Builder
	b.Reset("orders")
	for i := range records {
		b.Append(&records[i], nil)
	}
	raw := b.Finish(codec)
	record.Stamp(raw, 77, 1000, 5, 123456789)
	return raw
}

// Aim: what goes in comes out, for every combination of fields and every codec.
// Method: encode, parse, compare, field by field.
func TestBatchRoundTrip(t *testing.T) {
	want := samples()
	for _, codec := range codecs {
		raw := encode(codec, want)
		require.Zero(t, len(raw)%8)
		var b record.Batch
		n, err := record.ParseBatch(append(slices.Clone(raw), "what follows"...), &b)
		require.NoError(t, err)
		require.Equal(t, len(raw), n)
		require.NoError(t, b.Verify())
		require.Equal(t, codec, b.Codec)
		require.Equal(t, record.ChannelID(77), b.Channel)
		require.Equal(t, record.Offset(1000), b.Base)
		require.Equal(t, record.Offset(1000+len(want)-1), b.Last())
		require.Equal(t, uint64(5), b.Term)
		require.Equal(t, "orders", string(b.Name))
		require.Equal(t, raw, b.Raw())
		_, err = b.Inflate(nil)
		require.NoError(t, err)
		for k := range want {
			var got record.Record
			require.NoError(t, b.Record(k, &got))
			w := want[k]
			w.Offset, w.Time = record.Offset(1000+k), 123456789
			require.Equal(t, w, got, "record %d, codec %v", k, codec)
		}
		var r record.Record
		require.Error(t, b.Record(-1, &r))
		require.Error(t, b.Record(len(want), &r))
	}
}

// Aim: the two halves of a value are one, and the short ways of adding a record
// make the same bytes. Method: compare the records.
func TestBuilderAppend(t *testing.T) {
	var b record.Builder
	b.Reset("c")
	b.Append(&record.Record{Value: []byte("ab")}, []byte("cd"))
	b.Append(&record.Record{}, []byte("cd"))
	b.AppendValue([]byte("ef"))
	b.AppendValue(nil)
	b.AppendValue([]byte{})
	require.Equal(t, 5, b.Count())
	size := b.Bytes()
	raw := b.Finish(record.CodecNone)
	require.Len(t, raw, size)
	record.Stamp(raw, 1, 1, 1, 1)
	var batch record.Batch
	_, err := record.ParseBatch(raw, &batch)
	require.NoError(t, err)
	for k, want := range [][]byte{[]byte("abcd"), []byte("cd"), []byte("ef"), nil, {}} {
		var r record.Record
		require.NoError(t, batch.Record(k, &r))
		require.Equal(t, want, r.Value)
		require.Equal(t, want == nil, r.Value == nil)
	}
	require.Panics(t, func() { b.Reset(strings.Repeat("x", record.ChannelNameBytesMax+1)) })
	b.Reset("c")
	require.Panics(t, func() { b.Finish(record.CodecNone) })
}

// Aim: commands come back. Method: round trip.
func TestCommandRoundTrip(t *testing.T) {
	raw := record.AppendCommand([]byte("before  "), 3, 9, 55, []byte("operations"))[8:]
	var b record.Batch
	n, err := record.ParseBatch(raw, &b)
	require.NoError(t, err)
	require.Equal(t, len(raw), n)
	require.NoError(t, b.Verify())
	require.Equal(t, record.KindCommand, b.Kind)
	require.Equal(t, uint32(3), b.Count)
	require.Equal(t, uint64(9), b.Term)
	require.Equal(t, int64(55), b.Time)
	require.Equal(t, "operations", string(b.Body))
}

// Aim: headers keep order, repetition and binary values; a cut list is an error.
// Method: round trip, then every shorter list.
func TestHeaders(t *testing.T) {
	var list []byte
	want := [][2]string{{"a", "1"}, {"a", "2"}, {"", ""}, {"b", "\x00\xff\r\n"}}
	for _, h := range want {
		list = record.AppendHeader(list, []byte(h[0]), []byte(h[1]))
	}
	var got [][2]string
	ends := map[int]bool{0: true}
	for rest := list; len(rest) > 0; {
		name, value, more, err := record.NextHeader(rest)
		require.NoError(t, err)
		got = append(got, [2]string{string(name), string(value)})
		rest = more
		ends[len(list)-len(rest)] = true
	}
	require.Equal(t, want, got)
	for n := range list {
		var err error
		for rest := list[:n]; len(rest) > 0 && err == nil; {
			_, _, rest, err = record.NextHeader(rest)
		}
		require.Equal(t, !ends[n], err != nil, "list of %d bytes", n)
	}
}

// Aim: a batch that is cut anywhere is short, not wrong, and never a panic.
// Method: parse each shorter prefix.
func TestBatchTruncation(t *testing.T) {
	raw := encode(record.CodecNone, samples()[:20])
	for n := range raw {
		var b record.Batch
		_, err := record.ParseBatch(raw[:n:n], &b)
		require.ErrorIs(t, err, record.ErrShort, "%d bytes", n)
	}
}

// Aim: every single-bit flip of a batch is found. Method: flip each bit.
func TestBatchBitFlips(t *testing.T) {
	for _, raw := range [][]byte{encode(record.CodecNone, samples()[:40]), encode(record.CodecS2, samples()), record.AppendCommand(nil, 1, 1, 1, []byte("op"))} {
		for bit := range 8 * len(raw) {
			raw[bit/8] ^= 1 << (bit % 8)
			var b record.Batch
			_, err := record.ParseBatch(raw, &b)
			if err == nil {
				err = b.Verify()
			}
			require.Error(t, err, "bit %d", bit)
			raw[bit/8] ^= 1 << (bit % 8)
		}
	}
}

// Aim: a body that lies about its size is refused before memory is taken for it.
// Method: change rawBytes of compressed batches, and restamp.
func TestInflateLies(t *testing.T) {
	for _, codec := range codecs[1:] {
		raw := encode(codec, samples())
		for _, n := range []uint32{1, 1 << 10, record.BodyBytesMax} {
			bad := slices.Clone(raw)
			bad[60], bad[61], bad[62], bad[63] = byte(n), byte(n>>8), byte(n>>16), byte(n>>24)
			bad[12], bad[13] = 1, 0 // count
			record.Stamp(bad, 1, 1, 1, 1)
			var b record.Batch
			_, err := record.ParseBatch(bad, &b)
			if err == nil {
				_, err = b.Inflate(nil)
			}
			require.Error(t, err, "%v of %d", codec, n)
		}
	}
}

// Aim: a body of any size inflates, the smallest that is worth compressing too.
// Method: bodies of repeated bytes, of all sizes around what zstd treats apart.
func TestInflateSizes(t *testing.T) {
	for _, codec := range codecs {
		for n := 1; n < 600; n++ {
			raw := encode(codec, []record.Record{{Value: bytes.Repeat([]byte("a"), n)}})
			var b record.Batch
			_, err := record.ParseBatch(raw, &b)
			require.NoError(t, err)
			_, err = b.Inflate(nil)
			require.NoError(t, err, "%v, %d bytes", codec, n)
			var r record.Record
			require.NoError(t, b.Record(0, &r))
			require.Len(t, r.Value, n)
		}
	}
}

// frame makes a frame of one entry at a place.
func frame(h record.FrameHeader, payload []byte, at record.Place) []byte {
	h.PayloadBytes, h.PayloadCRC = uint32(len(payload)), record.Checksum(payload)
	h.ZeroSectors = record.ZeroSectors(at.Position+record.FrameHeaderBytes, payload)
	raw := make([]byte, record.FrameHeaderBytes, record.FrameBytes(len(payload)))
	record.PutFrameHeader(raw, &h, at)
	return append(append(raw, payload...), record.EndBytes(len(payload))...)
}

var place = record.Place{Partition: 3, Segment: 9, Position: 8192}

func sampleFrame() (record.FrameHeader, []byte) {
	h := record.FrameHeader{
		Type: record.FrameConfiguration, Index: 10, Term: 2, Chain: 0x0123456789abcdef, Time: 99, SyncedThrough: 8000, CommitHint: 9,
	}
	return h, frame(h, []byte("an odd number of bytes."), place)
}

func parseFrame(raw []byte, at record.Place) (h record.FrameHeader, err error) {
	if err = record.ParseFrameHeader(raw, at, &h); err == nil {
		err = h.VerifyPayload(raw[record.FrameHeaderBytes:])
	}
	return h, err
}

// Aim: a frame comes back, from its own place only. Method: parse there, and at
// places that differ in one thing.
func TestFrameRoundTrip(t *testing.T) {
	want, raw := sampleFrame()
	got, err := parseFrame(raw, place)
	require.NoError(t, err)
	want.FrameBytes, want.PayloadBytes, want.PayloadCRC = uint32(len(raw)), 23, got.PayloadCRC
	require.Equal(t, want, got)
	for _, other := range []record.Place{{4, 9, 8192}, {3, 10, 8192}, {3, 9, 8200}} {
		_, err := parseFrame(raw, other)
		require.ErrorIs(t, err, record.ErrChecksum)
	}
}

// Aim: the space of a frame is its parts, and sectors of zeros are counted by
// their place in the file. Method: payloads of all sizes, a table of places.
func TestFrameEnd(t *testing.T) {
	require.Equal(t, record.FrameHeaderBytes, record.FrameBytes(0))
	require.Empty(t, record.EndBytes(0))
	for n := 1; n < 40; n++ {
		require.Zero(t, record.FrameBytes(n)%8)
		require.Equal(t, record.FrameBytes(n), record.FrameHeaderBytes+n+len(record.EndBytes(n)))
		require.NotEmpty(t, record.EndBytes(n))
		require.LessOrEqual(t, len(record.EndBytes(n)), 8)
	}
	zero, one := make([]byte, 1536), make([]byte, 1536)
	one[600] = 1
	for _, c := range []struct {
		pos     uint32
		payload []byte
		want    uint32
	}{{4096, nil, 0}, {4096, zero, 3}, {4104, zero, 4}, {4096, one, 2}, {4100, one, 3}, {4607, zero[:2], 2}, {4096, zero[:1], 1}} {
		require.Equal(t, c.want, record.ZeroSectors(c.pos, c.payload), "%d bytes at %d", len(c.payload), c.pos)
	}
}

// Aim: every bit flip and every truncation of a frame is found. Method: all of
// them.
func TestFrameDamage(t *testing.T) {
	_, raw := sampleFrame()
	for bit := range 8 * len(raw) {
		raw[bit/8] ^= 1 << (bit % 8)
		_, err := parseFrame(raw, place)
		require.Error(t, err, "bit %d", bit)
		raw[bit/8] ^= 1 << (bit % 8)
	}
	for n := range raw {
		_, err := parseFrame(raw[:n], place)
		require.ErrorIs(t, err, record.ErrShort)
	}
}

// Aim: the chain depends on all that it covers and on nothing else. Method:
// change one field at a time.
func TestChain(t *testing.T) {
	h, _ := sampleFrame()
	h.PayloadBytes, h.PayloadCRC = 5, 6
	base := record.NextChain(1, &h)
	require.NotEqual(t, base, record.NextChain(2, &h))
	for i, change := range []func(h *record.FrameHeader){
		func(h *record.FrameHeader) { h.Index++ }, func(h *record.FrameHeader) { h.Term++ },
		func(h *record.FrameHeader) { h.Type = record.FrameNoop }, func(h *record.FrameHeader) { h.PayloadBytes++ },
		func(h *record.FrameHeader) { h.PayloadCRC++ },
	} {
		c := h
		change(&c)
		require.NotEqual(t, base, record.NextChain(1, &c), i)
	}
	h.SyncedThrough, h.CommitHint, h.Time, h.Chain = 0, 0, 0, 0
	require.Equal(t, base, record.NextChain(1, &h), "what differs between replicas is not in the chain")
}

// Aim: appending and reading a record allocates nothing once warm. Method:
// AllocsPerRun.
func TestAllocs(t *testing.T) {
	r := record.Record{Key: []byte("key"), Subject: []byte("a.b"), Value: bytes.Repeat([]byte("v"), 128)}
	var b record.Builder
	for range 2 {
		b.Reset("orders")
		for range 2000 {
			b.Append(&r, nil)
			b.AppendValue(r.Value)
		}
	}
	b.Reset("orders")
	require.Zero(t, testing.AllocsPerRun(1000, func() {
		b.Append(&r, nil)
		b.AppendValue(r.Value)
	}))
	raw := b.Finish(record.CodecNone)
	record.Stamp(raw, 1, 1, 1, 1)
	var batch record.Batch
	_, err := record.ParseBatch(raw, &batch)
	require.NoError(t, err)
	var got record.Record
	require.Zero(t, testing.AllocsPerRun(1000, func() {
		if _, err := record.ParseBatch(raw, &batch); err != nil {
			t.Fatal(err)
		}
		if err := batch.Record(7, &got); err != nil {
			t.Fatal(err)
		}
	}))
}

// FuzzBatch: any bytes are parsed or refused, and what passes Verify is read
// without a panic.
func FuzzBatch(f *testing.F) {
	for _, codec := range codecs {
		f.Add(encode(codec, samples()[:30]))
	}
	f.Add(record.AppendCommand(nil, 1, 1, 1, []byte("op")))
	f.Fuzz(func(t *testing.T, raw []byte) {
		var b record.Batch
		n, err := record.ParseBatch(raw, &b)
		if err != nil {
			return
		}
		require.LessOrEqual(t, n, len(raw))
		_ = b.Verify()
		if b.Kind != record.KindData {
			return
		}
		if _, err := b.Inflate(nil); err != nil {
			return
		}
		var r record.Record
		for k := range int(b.Count) {
			if b.Record(k, &r) != nil {
				continue
			}
			for list := r.Headers; len(list) > 0; {
				if _, _, list, err = record.NextHeader(list); err != nil {
					break
				}
			}
		}
	})
}

// FuzzFrame: any bytes are parsed or refused.
func FuzzFrame(f *testing.F) {
	_, raw := sampleFrame()
	f.Add(raw)
	f.Fuzz(func(t *testing.T, raw []byte) {
		h, err := parseFrame(raw, place)
		if err != nil {
			return
		}
		require.LessOrEqual(t, int(h.FrameBytes), len(raw))
		_, _ = record.CountBatches(raw[record.FrameHeaderBytes:record.FrameHeaderBytes+h.PayloadBytes], nil)
	})
}

// FuzzRecord: any record goes in and comes out equal, under every codec.
func FuzzRecord(f *testing.F) {
	f.Add([]byte("key"), []byte("subject"), []byte("headers"), []byte("value"), int64(5), uint8(0xff))
	f.Fuzz(func(t *testing.T, key, subject, headers, value []byte, time int64, have uint8) {
		if len(key) > record.KeyBytesMax || len(subject) > record.SubjectBytesMax || len(headers) > record.HeaderBytesMax {
			return
		}
		pick := func(bit int, p []byte) []byte {
			if have>>bit&1 == 0 {
				return nil
			}
			return append([]byte{}, p...)
		}
		want := record.Record{Key: pick(0, key), Subject: pick(1, subject), Headers: pick(2, headers), Value: pick(3, value)}
		if want.HasProducerTime = have>>4&1 != 0; want.HasProducerTime {
			want.ProducerTime = time
		}
		raw := encode(codecs[rand.IntN(len(codecs))], []record.Record{want, want})
		var b record.Batch
		_, err := record.ParseBatch(raw, &b)
		require.NoError(t, err)
		_, err = b.Inflate(nil)
		require.NoError(t, err)
		for k := range 2 {
			var got record.Record
			require.NoError(t, b.Record(k, &got))
			got.Offset, got.Time = 0, 0
			require.Equal(t, want, got)
		}
	})
}
