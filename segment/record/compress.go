package record

import (
	"fmt"
	"sync"

	"github.com/klauspost/compress/s2"
	"github.com/klauspost/compress/zstd"
)

// The zstd coders are shared: EncodeAll and DecodeAll may be called at once, and
// each keeps large tables that must not exist once per batch.
var (
	zstdEncoder = sync.OnceValue(func() *zstd.Encoder {
		// A single segment always says its content size, which inflate insists
		// on; otherwise contents below 256 bytes come without.
		e, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithEncoderCRC(false), zstd.WithSingleSegment(true))
		if err != nil {
			panic(err) // only wrong options can fail
		}
		return e
	})
	zstdDecoder = sync.OnceValue(func() *zstd.Decoder {
		d, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(BodyBytesMax))
		if err != nil {
			panic(err)
		}
		return d
	})
)

func deflate(c Codec, src []byte) []byte {
	switch c {
	case CodecS2:
		return s2.Encode(nil, src)
	case CodecZstd:
		return zstdEncoder().EncodeAll(src, nil)
	}
	panic("record: deflate with " + c.String())
}

// inflate appends the rawBytes bytes that src inflates to. Any other number of
// bytes is an error, found before memory is taken for it.
func inflate(dst []byte, c Codec, src []byte, rawBytes int) ([]byte, error) {
	at := len(dst)
	switch c {
	case CodecS2:
		n, err := s2.DecodedLen(src)
		if err != nil || n != rawBytes {
			return dst, fmt.Errorf("%w: s2 body says %d bytes, its batch %d", ErrFormat, n, rawBytes)
		}
		if cap(dst)-at < n {
			dst = append(make([]byte, 0, at+n), dst...)
		}
		if _, err := s2.Decode(dst[at:at+n], src); err != nil {
			return dst, fmt.Errorf("%w: s2 body: %w", ErrFormat, err)
		}
		return dst[:at+n], nil
	case CodecZstd:
		var h zstd.Header
		if err := h.Decode(src); err != nil || !h.HasFCS || h.FrameContentSize != uint64(rawBytes) {
			return dst, fmt.Errorf("%w: zstd body does not say %d bytes", ErrFormat, rawBytes)
		}
		if cap(dst)-at < rawBytes {
			dst = append(make([]byte, 0, at+rawBytes), dst...)
		}
		out, err := zstdDecoder().DecodeAll(src, dst)
		if err != nil {
			return dst, fmt.Errorf("%w: zstd body: %w", ErrFormat, err)
		}
		if len(out)-at != rawBytes {
			return dst, fmt.Errorf("%w: zstd body of %d bytes, its batch says %d", ErrFormat, len(out)-at, rawBytes)
		}
		return out, nil
	}
	return dst, fmt.Errorf("%w: unknown codec %d", ErrFormat, c)
}
