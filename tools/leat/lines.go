package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
)

// line is one line of the input without its '\n'.
type line struct {
	number  uint64 // from 1
	data    []byte
	tooLong int64 // its length when that is over the limit; data is nil then
}

// lineReader cuts input into lines. Only '\n' is taken off; a last line without
// one is a line. A line over the limit is skipped without being held in memory.
type lineReader struct {
	in       *bufio.Reader
	bytesMax int
	number   uint64
	chunk    []byte // what lines are cut from; never written to again once cut
}

const (
	inputBytes = 256 << 10
	chunkBytes = 256 << 10
)

func newLineReader(r io.Reader, bytesMax int) *lineReader {
	return &lineReader{in: bufio.NewReaderSize(r, inputBytes), bytesMax: bytesMax}
}

// next returns io.EOF after the last line. The line's memory is its own.
func (l *lineReader) next() (line, error) {
	l.number++
	out := line{number: l.number}
	var long []byte // the line so far, when it is longer than in's buffer
	var total int64
	for {
		part, err := l.in.ReadSlice('\n')
		total += int64(len(part))
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
			if total <= int64(l.bytesMax) {
				long = append(long, part...)
			} else {
				long = nil
			}
			continue
		case errors.Is(err, io.EOF) && total == 0:
			return out, io.EOF
		case err != nil && !errors.Is(err, io.EOF):
			return out, fmt.Errorf("read line %d: %w", l.number, err)
		case err == nil:
			part = part[:len(part)-1]
			total--
		}
		if total > int64(l.bytesMax) {
			out.tooLong = total
			return out, nil
		}
		if long != nil {
			out.data = append(long, part...)
			return out, nil
		}
		out.data = l.own(part)
		return out, nil
	}
}

// own copies b into a chunk that many lines share.
func (l *lineReader) own(b []byte) []byte {
	if len(b) > chunkBytes/4 {
		return append([]byte(nil), b...)
	}
	if cap(l.chunk)-len(l.chunk) < len(b) {
		l.chunk = make([]byte, 0, chunkBytes)
	}
	at := len(l.chunk)
	l.chunk = append(l.chunk, b...)
	return l.chunk[at:len(l.chunk):len(l.chunk)]
}

// waiting tells whether the next line can be read without waiting for whoever
// writes the input.
func (l *lineReader) waiting() bool { return l.in.Buffered() == 0 }
