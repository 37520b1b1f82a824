package segment_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"leat.dev/leat/segment"
	"leat.dev/leat/segment/record"
	"leat.dev/leat/segment/vfs"
)

const firstFile = "p/0000000000000001.seg"

// opaque is an entry whose payload the log does not look into.
func opaque(index uint64, payload []byte) segment.Entry {
	return segment.Entry{Index: index, Term: 1, Type: record.FrameConfiguration, Payload: payload}
}

// sparse is a payload with zeros at its end and, when it is long enough, with
// whole sectors of zeros in it.
func sparse(n int) []byte {
	p := bytes.Repeat([]byte{0x5a}, n)
	clear(p[n/4 : n/4*3])
	clear(p[n-n/8:])
	return p
}

// unsynced makes a log of two entries and a last append that is under way: file
// is what it wrote, from and to say where.
func unsynced(t *testing.T, lead int, last []segment.Entry) (acked *vfs.MemFS, file []byte, from, to int64) {
	fs := vfs.NewMem()
	l := open(t, options(fs))
	require.NoError(t, l.Append([]segment.Entry{opaque(1, sparse(lead)), opaque(2, []byte("acked"))}))
	from = l.Segments()[0].Bytes
	acked = fs.CrashClone(vfs.CrashOptions{})
	require.NoError(t, l.Append(last))
	to = l.Segments()[0].Bytes
	file, err := vfs.ReadFile(fs.CrashClone(vfs.CrashOptions{}), firstFile)
	require.NoError(t, err)
	closeLog(t, l)
	return acked, file, from, to
}

// Aim: a node comes up by itself after a kill or a failure in the middle of a
// write, wherever the write stopped. Method: of an append of three entries, put
// every number of bytes from the front into the file that was acknowledged
// before, and open, twice.
func TestWriteStoppedAnywhere(t *testing.T) {
	for _, lead := range []int{16, 333, 3700} { // the last one: across a page
		last := []segment.Entry{opaque(3, sparse(300)), opaque(4, nil), opaque(5, sparse(1300))}
		acked, file, from, to := unsynced(t, lead, last)
		got := map[segment.TailState]int{}
		step := 1
		if testing.Short() {
			step = 7
		}
		for stop := from; stop <= to; stop += int64(step) {
			fs := acked.CrashClone(vfs.CrashOptions{})
			f, err := fs.OpenReadWrite(firstFile)
			require.NoError(t, err)
			_, err = f.WriteAt(file[from:stop], from)
			require.NoError(t, err)
			require.NoError(t, f.SyncData())
			require.NoError(t, f.Close())
			for range 2 {
				l, err := segment.Open(options(fs))
				require.NoError(t, err, "stopped at %d of %d to %d", stop, from, to)
				got[l.Recovery().Tail]++
				tip, _ := l.Last()
				require.GreaterOrEqual(t, tip, uint64(2))
				if stop == to {
					require.Equal(t, uint64(5), tip)
				}
				closeLog(t, l)
			}
			require.Empty(t, verify(t, fs).Findings)
		}
		t.Logf("lead %d: %v", lead, got)
		require.Positive(t, got[segment.TailTorn])
		require.Zero(t, got[segment.TailUncertain])
	}
}

// Aim: blocks and sectors of an append under way may be lost one by one, in any
// order, and read as zeros; the node comes up by itself. Method: every subset of
// the sectors of an append that are not all zero.
func TestSectorsLostOneByOne(t *testing.T) {
	for _, lead := range []int{16, 200, 256, 3700} {
		last := []segment.Entry{opaque(3, sparse(900)), opaque(4, nil), opaque(5, sparse(2300))}
		acked, file, from, to := unsynced(t, lead, last)
		var sectors [][2]int64
		for at := from; at < to; {
			end := min(at/512*512+512, to)
			if len(bytes.Trim(file[at:end], "\x00")) > 0 {
				sectors = append(sectors, [2]int64{at, end})
			}
			at = end
		}
		require.Greater(t, len(sectors), 3)
		for set := range 1 << len(sectors) {
			fs := acked.CrashClone(vfs.CrashOptions{})
			f, err := fs.OpenReadWrite(firstFile)
			require.NoError(t, err)
			for i, s := range sectors {
				if set&(1<<i) != 0 {
					_, err = f.WriteAt(file[s[0]:s[1]], s[0])
					require.NoError(t, err)
				}
			}
			require.NoError(t, f.SyncData())
			require.NoError(t, f.Close())
			l, err := segment.Open(options(fs))
			require.NoError(t, err, "lead %d, sectors %b", lead, set)
			tip, _ := l.Last()
			require.GreaterOrEqual(t, tip, uint64(2))
			require.Equal(t, set == 1<<len(sectors)-1, tip == 5)
			closeLog(t, l)
		}
	}
}

// Aim: a flipped bit in an entry that was acknowledged is never taken for a torn
// write, wherever its frame lies and however many zeros it holds. Method: frames
// of several kinds at every place in a sector; flip one bit of each byte.
func TestFlipIsNeverTorn(t *testing.T) {
	payloads := map[string][]byte{"empty": nil, "short": []byte("x"), "zeros": make([]byte, 1600), "sparse": sparse(1700)}
	for name, payload := range payloads {
		for lead := 8; lead <= 520; lead += 8 {
			fs, _, from, to := func() (*vfs.MemFS, []byte, int64, int64) {
				_, file, from, to := unsynced(t, lead, []segment.Entry{opaque(3, payload)})
				acked, _, _, _ := unsynced(t, lead, nil)
				f, err := acked.OpenReadWrite(firstFile)
				require.NoError(t, err)
				_, err = f.WriteAt(file[from:to], from)
				require.NoError(t, err)
				require.NoError(t, f.SyncData())
				require.NoError(t, f.Close())
				return acked, file, from, to
			}()
			f, err := fs.OpenReadWrite(firstFile)
			require.NoError(t, err)
			step := int64(1)
			for at := from; at < to; at += step {
				if at-from >= record.FrameHeaderBytes {
					step = 61
				}
				bit := int(at/3) % 8
				flip(t, f, at, bit)
				l, err := segment.Open(options(fs))
				where := fmt.Sprintf("%s, lead %d: byte %d of %d, bit %d", name, lead, at-from, to-from, bit)
				if err == nil {
					closeLog(t, l)
				}
				var c *segment.CorruptionError
				require.ErrorAs(t, err, &c, where)
				require.Equal(t, segment.TailUncertain, c.Tail, where)
				flip(t, f, at, bit)
			}
			require.NoError(t, f.Close())
		}
	}
}

// Aim: an idle marker, which is never synced, does no harm wherever a power cut
// tears it, also when the segment is left and sealed later. Method: let a marker
// be written across a sector's edge, roll, and cut the power at each call of the
// file system; open, let it seal, verify.
func TestTornIdleMarker(t *testing.T) {
	for _, lead := range []int{130, 155, 195} {
		for after := range 26 {
			mem := vfs.NewMem()
			fault := vfs.NewFault(mem)
			o := options(fault)
			o.MarkerDelay = time.Millisecond
			l := open(t, o)
			require.NoError(t, l.Append([]segment.Entry{opaque(1, sparse(lead)), opaque(2, []byte("x"))}))
			end := l.Segments()[0].Bytes
			require.Greater(t, end%512, int64(512-record.FrameHeaderBytes), "lead %d ends at %d", lead, end)
			require.Eventually(t, func() bool {
				file, err := vfs.ReadFile(mem, firstFile)
				require.NoError(t, err)
				return file[end+record.FrameHeaderBytes-1] != 0
			}, 5*time.Second, time.Millisecond)
			var clones []*vfs.MemFS
			fault.Inject(vfs.Rule{After: after, Count: 1, Hook: func() {
				for seed := range uint64(8) {
					clones = append(clones, mem.CrashClone(vfs.CrashOptions{UnsyncedShare: 0.5, TearBytes: 512, Rand: rand.New(rand.NewPCG(seed, uint64(after)))}))
				}
			}})
			require.NoError(t, l.Roll())
			closeLog(t, l)
			for _, clone := range clones {
				l := open(t, options(clone))
				last, _ := l.Last()
				require.Equal(t, uint64(2), last)
				require.NoError(t, l.Append([]segment.Entry{opaque(3, nil)}))
				require.NoError(t, l.Roll())
				closeLog(t, l)
				require.Empty(t, verify(t, clone).Findings)
			}
		}
	}
}
