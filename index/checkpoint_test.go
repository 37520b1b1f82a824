package index_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"math/rand/v2"
	"testing"
	"testing/iotest"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"leat.dev/leat/index"
	"leat.dev/leat/segment/record"
)

func checkpoint(t testing.TB, p *index.Partition) []byte {
	t.Helper()
	var b bytes.Buffer
	require.NoError(t, p.WriteCheckpoint(&b))
	return b.Bytes()
}

// fill applies a random history.
func fill(t testing.TB, p *index.Partition, seed uint64, steps int) {
	t.Helper()
	r := rand.New(rand.NewPCG(seed, 3))
	m, b := newModel(), p.NewBatch()
	for range steps {
		m.step(r, b)
	}
	b.SetApplied(uint64(steps), 2)
	require.NoError(t, b.Commit())
}

// TestCheckpointRoundTrip loads checkpoints of states small and large into another index, and checks that dump and
// checkpoint are equal, that deleting a segment works there too, and that no byte behind the end is read.
func TestCheckpointRoundTrip(t *testing.T) {
	for name, make := range map[string]func(t *testing.T, p *index.Partition){
		"empty":  func(*testing.T, *index.Partition) {},
		"random": func(t *testing.T, p *index.Partition) { fill(t, p, 1, 300) },
		"many chunks": func(t *testing.T, p *index.Partition) {
			for i := range uint64(3000) {
				require.NoError(t, entry(p, i+1, 2000))
			}
		},
		"largest values": func(t *testing.T, p *index.Partition) {
			b := p.NewBatch()
			long := string(bytes.Repeat([]byte{0xff}, index.MaxNameBytes))
			for ch := record.ChannelID(1); ch < 4; ch++ {
				b.PutCursor(ch, long, bytes.Repeat([]byte{1}, index.MaxValueBytes))
			}
			require.NoError(t, b.Commit())
		},
	} {
		t.Run(name, func(t *testing.T) {
			from := open(t, vfs.NewMem()).Partition(3)
			make(t, from)
			data := checkpoint(t, from)
			toFS := vfs.NewMem()
			x := open(t, toFS)
			to := x.Partition(3)
			behind := bytes.NewReader(append(bytes.Clone(data), "behind"...))
			require.NoError(t, to.LoadCheckpoint(behind))
			require.Equal(t, 6, behind.Len())
			want := dump(t, from)
			require.Equal(t, want, dump(t, to))
			require.Equal(t, data, checkpoint(t, to))
			if want != "" {
				require.ErrorIs(t, to.LoadCheckpoint(bytes.NewReader(data)), index.ErrNotEmpty)
				require.Equal(t, want, dump(t, to))
			}
			for _, p := range []*index.Partition{from, to} {
				b := p.NewBatch()
				b.DeleteSegment(2)
				b.DeleteChannel(1)
				require.NoError(t, b.Commit())
			}
			require.Equal(t, dump(t, from), dump(t, to))
			require.Empty(t, dump(t, x.Partition(2))+dump(t, x.Partition(4)))
		})
	}
}

// TestCheckpointIsConsistent writes a checkpoint to a writer that commits more between two writes, and checks that the
// checkpoint is of the state at its beginning.
func TestCheckpointIsConsistent(t *testing.T) {
	x := open(t, vfs.NewMem())
	p := x.Partition(1)
	for i := range uint64(300) {
		require.NoError(t, entry(p, i+1, 2000))
	}
	var data bytes.Buffer
	next := uint64(300)
	require.NoError(t, p.WriteCheckpoint(writerFunc(func(b []byte) (int, error) {
		next++
		require.NoError(t, entry(p, next, 10))
		return data.Write(b)
	})))
	require.Greater(t, next, uint64(303))
	to := x.Partition(1)
	require.NoError(t, to.Reset())
	require.NoError(t, to.LoadCheckpoint(&data))
	require.Equal(t, uint64(300), checkEntries(t, to))

	broken := errors.New("broken pipe")
	require.ErrorIs(t, p.WriteCheckpoint(writerFunc(func([]byte) (int, error) { return 0, broken })), broken)
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(b []byte) (int, error) { return f(b) }

// TestDamagedCheckpoint cuts a checkpoint at every byte and flips a bit in every byte: each must be refused and leave the
// partition empty and fit for the good one.
func TestDamagedCheckpoint(t *testing.T) {
	from := open(t, vfs.NewMem()).Partition(3)
	fill(t, from, 2, 30)
	data := checkpoint(t, from)
	p := open(t, vfs.NewMem()).Partition(3)
	refused := func(r io.Reader, want error) {
		t.Helper()
		require.ErrorIs(t, p.LoadCheckpoint(r), want)
		require.Empty(t, dump(t, p))
		applied, _, err := p.Applied()
		require.NoError(t, err)
		require.Zero(t, applied)
	}
	for i := range data {
		refused(bytes.NewReader(data[:i]), index.ErrCheckpoint)
		data[i] ^= 1 << (i % 8)
		refused(bytes.NewReader(data), index.ErrCheckpoint)
		data[i] ^= 1 << (i % 8)
	}
	refused(iotest.TimeoutReader(iotest.OneByteReader(bytes.NewReader(data))), iotest.ErrTimeout)
	require.NoError(t, p.LoadCheckpoint(bytes.NewReader(data)))

	other := open(t, vfs.NewMem()).Partition(4)
	require.ErrorContains(t, other.LoadCheckpoint(bytes.NewReader(data)), "partition 3, want 4")
}

// TestLateDamageResets damages the end of a checkpoint so large that a part of it is committed before: the partition must
// be empty after that. In a clone of the files taken in the middle, Applied must say that loading was interrupted.
func TestLateDamageResets(t *testing.T) {
	from := open(t, vfs.NewMem()).Partition(3)
	for i := range uint64(3000) {
		require.NoError(t, entry(from, i+1, 3000))
	}
	data := checkpoint(t, from)
	data[len(data)-1] ^= 1
	fs := vfs.NewCrashableMem()
	x := open(t, fs)
	p := x.Partition(3)
	var clone vfs.FS
	r := bytes.NewReader(data)
	err := p.LoadCheckpoint(readerFunc(func(b []byte) (int, error) {
		if r.Len() < 100 && clone == nil {
			clone = fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 100, RNG: rand.New(rand.NewPCG(1, 1))})
		}
		return r.Read(b)
	}))
	require.ErrorIs(t, err, index.ErrCheckpoint)
	require.Empty(t, dump(t, p))

	half := open(t, clone).Partition(3)
	_, _, err = half.Applied()
	require.ErrorIs(t, err, index.ErrLoadInterrupted)
	data[len(data)-1] ^= 1
	require.ErrorIs(t, half.LoadCheckpoint(bytes.NewReader(data)), index.ErrNotEmpty)
	require.NoError(t, half.Reset())
	require.NoError(t, half.LoadCheckpoint(bytes.NewReader(data)))
	require.Equal(t, uint64(3000), checkEntries(t, half))
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(b []byte) (int, error) { return f(b) }

// seal wraps a payload in a checkpoint of partition 3 whose checksums are right, as an attacker would.
func seal(payload []byte, count uint64) []byte {
	table := crc32.MakeTable(crc32.Castagnoli)
	le := binary.LittleEndian
	head := le.AppendUint32(nil, 0x504b434c)
	head = le.AppendUint16(head, 1)
	head = append(head, 0, 0)
	head = le.AppendUint32(head, 3)
	head = append(head, make([]byte, 8)...)
	out := le.AppendUint32(head, crc32.Checksum(head, table))
	if len(payload) > 0 {
		out = le.AppendUint32(out, uint32(len(payload)))
		out = le.AppendUint32(out, crc32.Checksum(payload, table))
		out = append(out, payload...)
	}
	end := le.AppendUint64(nil, count)
	end = le.AppendUint32(end, crc32.Checksum(payload, table))
	end = append(end, 0, 0, 0, 0)
	out = append(out, 0, 0, 0, 0)
	return append(le.AppendUint32(out, crc32.Checksum(end, table)), end...)
}

// TestHostileCheckpoint loads entries whose checksums are right and which no batch writes.
func TestHostileCheckpoint(t *testing.T) {
	channel := "\x09\x03\x00\x00\x00\x00\x00\x00\x00\x01\x00"
	p := open(t, vfs.NewMem()).Partition(3)
	require.NoError(t, p.LoadCheckpoint(bytes.NewReader(seal([]byte(channel), 1))))
	require.NoError(t, p.Reset())
	for name, payload := range map[string]string{
		"twice the same":     channel + channel,
		"empty key":          "\x00\x00",
		"kind of loading":    "\x01\x01\x00",
		"kind of holding":    "\x19\x08" + string(make([]byte, 24)) + "\x00",
		"unknown kind":       "\x01\x63\x00",
		"channel too short":  "\x03\x0312\x00",
		"cursor too short":   "\x03\x0412\x00",
		"session too short":  "\x01\x05\x00",
		"applied too short":  "\x01\x02\x041234",
		"applied, other key": "\x02\x02\x02\x141234567812345678crc!",
		"segment":            "\x09\x06\x00\x00\x00\x00\x00\x00\x00\x01\x00",
		"extent":             "\x19\x07" + string(make([]byte, 24)) + "\x00",
		"key too long":       "\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
		"value too long":     "\x09\x03\x00\x00\x00\x00\x00\x00\x00\x01\xff\x7f",
		"no value":           "\x01\x02",
	} {
		t.Run(name, func(t *testing.T) {
			require.ErrorIs(t, p.LoadCheckpoint(bytes.NewReader(seal([]byte(payload), 1))), index.ErrCheckpoint)
			require.Empty(t, dump(t, p))
		})
	}
	require.ErrorIs(t, p.LoadCheckpoint(bytes.NewReader(seal([]byte(channel), 2))), index.ErrCheckpoint)
}

// FuzzLoadCheckpoint loads payloads with right checksums, and streams as they are: what is accepted must read, dump and
// write the same again; what is refused must leave nothing.
func FuzzLoadCheckpoint(f *testing.F) {
	seed := open(f, vfs.NewMem()).Partition(3)
	fill(f, seed, 2, 30)
	data := checkpoint(f, seed)
	f.Add(data, false)
	f.Add(data[24+8:len(data)-24], true)
	f.Add([]byte("\x09\x03\x00\x00\x00\x00\x00\x00\x00\x01\x00"), true)
	x := open(f, vfs.NewMem())
	p := x.Partition(3)
	f.Fuzz(func(t *testing.T, data []byte, wrap bool) {
		require.NoError(t, p.Reset())
		stream := data
		if wrap && len(data) < 1<<20 {
			var count uint64
			for rest := data; len(rest) > 0; count++ { // as many entries as the payload seems to have
				for range 2 {
					n, used := binary.Uvarint(rest)
					if used <= 0 || n > uint64(len(rest)-used) {
						rest = nil
						break
					}
					rest = rest[used+int(n):]
				}
			}
			stream = seal(data, count)
		}
		if err := p.LoadCheckpoint(bytes.NewReader(stream)); err != nil {
			require.ErrorIs(t, err, index.ErrCheckpoint)
			require.Empty(t, dump(t, p))
			return
		}
		first, text := checkpoint(t, p), dump(t, p)
		require.NoError(t, p.Reset())
		require.NoError(t, p.LoadCheckpoint(bytes.NewReader(first)))
		require.Equal(t, text, dump(t, p))
		require.Equal(t, first, checkpoint(t, p))
	})
}
