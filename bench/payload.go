package bench

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"time"
)

// PayloadBytesMin leaves room for a record's number and time.
const PayloadBytesMin = 16

// payloads makes and checks contents: the record's number, the time it was made,
// and bytes that depend on the number, cut from one random pattern that a
// compressor can't shorten.
type payloads struct {
	bytes   int
	pattern []byte
}

const patternSpread = 4096

func newPayloads(n int) (*payloads, error) {
	if n < PayloadBytesMin || n > 1<<20 {
		return nil, fmt.Errorf("%w: records of %d bytes, want %d to %d", ErrOptions, n, PayloadBytesMin, 1<<20)
	}
	p := &payloads{bytes: n, pattern: make([]byte, n+patternSpread)}
	random := rand.NewChaCha8([32]byte{'l', 'e', 'a', 't'})
	_, _ = random.Read(p.pattern) // it never fails
	return p, nil
}

// appendTo appends record n, made now (ns).
func (p *payloads) appendTo(dst []byte, n uint64, now int64) []byte {
	dst = binary.LittleEndian.AppendUint64(dst, n)
	dst = binary.LittleEndian.AppendUint64(dst, uint64(now))
	return append(dst, p.rest(n)...)
}

func (p *payloads) rest(n uint64) []byte {
	at := n % patternSpread
	return p.pattern[at : at+uint64(p.bytes-PayloadBytesMin)]
}

// check compares a record with record n, and returns when it was made.
func (p *payloads) check(b []byte, n uint64) (made int64, err error) {
	if len(b) != p.bytes || binary.LittleEndian.Uint64(b) != n || !bytes.Equal(b[PayloadBytesMin:], p.rest(n)) {
		return 0, fmt.Errorf("%w: record %d of %d bytes", ErrContent, n, len(b))
	}
	return int64(binary.LittleEndian.Uint64(b[8:])), nil
}

// clock gives ns since it was made, from the monotonic clock.
func clock() func() int64 {
	start := time.Now()
	return func() int64 { return int64(time.Since(start)) }
}
