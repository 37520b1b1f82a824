package client

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
)

// payloads makes the content of messages. Message n is tokenBytes hexadecimal
// digits of n and then random bytes, so that content shows place and nobody
// gains by compression.
type payloads struct {
	pool []byte // random, from a fixed seed
	size int
}

const (
	tokenBytes = 16
	poolBytes  = 8 << 20
	poolStride = 977 // prime, so that neighbours differ and it takes long to repeat
)

func newPayloads(size int) (*payloads, error) {
	if size < tokenBytes || size > 1<<20 {
		return nil, fmt.Errorf("%w: payload of %d bytes, want %d to %d", ErrUnknownJob, size, tokenBytes, 1<<20)
	}
	p := &payloads{pool: make([]byte, poolBytes), size: size}
	// Fill cannot fail; ChaCha8 documents that it never returns an error.
	_, _ = rand.NewChaCha8([32]byte{'l', 'e', 'a', 't'}).Read(p.pool)
	return p, nil
}

func (p *payloads) fill(n uint64) []byte {
	off := n * poolStride % uint64(poolBytes-p.size)
	return p.pool[off : off+uint64(p.size-tokenBytes)]
}

// appendTo appends message n.
func (p *payloads) appendTo(dst []byte, n uint64) []byte {
	return append(appendToken(dst, n), p.fill(n)...)
}

// check tells whether b is message n.
func (p *payloads) check(b []byte, n uint64) error {
	var tok [tokenBytes]byte
	want := appendToken(tok[:0], n)
	if len(b) != p.size {
		return fmt.Errorf("%w: %d bytes, want %d (message %d)", ErrBadRecord, len(b), p.size, n)
	}
	if !bytes.Equal(b[:tokenBytes], want) {
		return fmt.Errorf("%w: got message %q, want %q", ErrBadRecord, b[:tokenBytes], want)
	}
	if !bytes.Equal(b[tokenBytes:], p.fill(n)) {
		return fmt.Errorf("%w: message %d has another content", ErrBadRecord, n)
	}
	return nil
}

// appendToken appends n as tokenBytes hexadecimal digits.
func appendToken(dst []byte, n uint64) []byte {
	var b [8]byte
	for i := range b {
		b[i] = byte(n >> (56 - 8*i))
	}
	return hex.AppendEncode(dst, b[:])
}

// parseToken reads what appendToken wrote.
func parseToken(b []byte) (uint64, bool) {
	if len(b) != tokenBytes {
		return 0, false
	}
	var n uint64
	for _, c := range b {
		switch {
		case '0' <= c && c <= '9':
			n = n<<4 | uint64(c-'0')
		case 'a' <= c && c <= 'f':
			n = n<<4 | uint64(c-'a'+10)
		default:
			return 0, false
		}
	}
	return n, true
}
