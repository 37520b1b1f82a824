package nats

import "sync"

// Buffers for what goes out come in two sizes: small for a connection on which
// little happens, large for one with much to say. They are pooled as arrays, so
// that getting and putting one allocates nothing.
const (
	smallBytes = 4 << 10
	largeBytes = 64 << 10
)

// bufferPool is the buffers of one server.
type bufferPool struct {
	small, large sync.Pool
}

// get returns an empty buffer with room for n bytes, or as many as a large one
// holds.
func (p *bufferPool) get(n int) []byte {
	if n <= smallBytes {
		if b, ok := p.small.Get().(*[smallBytes]byte); ok {
			return b[:0]
		}
		return make([]byte, 0, smallBytes)
	}
	if b, ok := p.large.Get().(*[largeBytes]byte); ok {
		return b[:0]
	}
	return make([]byte, 0, largeBytes)
}

// put takes back a buffer that get returned; nobody else may hold it.
func (p *bufferPool) put(b []byte) {
	switch cap(b) {
	case smallBytes:
		p.small.Put((*[smallBytes]byte)(b[:smallBytes]))
	case largeBytes:
		p.large.Put((*[largeBytes]byte)(b[:largeBytes]))
	}
}
