package client

import (
	"bytes"
	"fmt"
)

// acks checks acknowledgements: each message has one, each names a sequence
// number of its own, none is an error. It belongs to one goroutine. In what
// order they come is not checked, because no server promises it.
type acks struct {
	messages bitset // acknowledged, by number from 0
	seqs     bitset // sequence numbers seen
}

// add takes the acknowledgement that came on a reply subject.
func (a *acks) add(subject, payload []byte) error {
	dot := bytes.LastIndexByte(subject, '.')
	n, ok := parseToken(subject[dot+1:])
	if !ok {
		return fmt.Errorf("%w: on subject %q, which was not a reply subject of ours", ErrBadAck, subject)
	}
	seq, ok := parseSeq(payload)
	if !ok {
		return fmt.Errorf("%w: message %d got %q", ErrBadAck, n, payload)
	}
	if !a.messages.add(n) {
		return fmt.Errorf("%w: message %d got a second one: %q", ErrBadAck, n, payload)
	}
	if !a.seqs.add(seq) {
		return fmt.Errorf("%w: sequence %d was given twice (message %d)", ErrBadAck, seq, n)
	}
	return nil
}

// complete tells whether exactly the messages 0 to n-1 were acknowledged, with
// the sequence numbers 1 to n.
func (a *acks) complete(n uint64) error {
	if a.messages.count != n || (n > 0 && a.messages.max != n-1) || a.seqs.max != n {
		return fmt.Errorf("%w: %d of %d acknowledged, highest sequence %d", ErrLost, a.messages.count, n, a.seqs.max)
	}
	return nil
}

var seqField = []byte(`"seq":`)

// parseSeq reads the sequence number out of {"stream":"orders","seq":1}. An
// error answer has none, or the number 0.
func parseSeq(payload []byte) (uint64, bool) {
	i := bytes.Index(payload, seqField)
	if i < 0 || bytes.Contains(payload, []byte(`"error"`)) {
		return 0, false
	}
	var n uint64
	for _, c := range payload[i+len(seqField):] {
		if c == ' ' && n == 0 {
			continue
		}
		if c < '0' || c > '9' {
			break
		}
		n = n*10 + uint64(c-'0')
	}
	return n, n > 0
}

// bitset is a set of small numbers.
type bitset struct {
	words []uint64
	count uint64
	max   uint64
}

// bitsetMax bounds a bitset, so that a wild number is an error and not a huge
// allocation: 2^32 numbers are 512 MiB.
const bitsetMax = 1 << 32

// add returns false when n was there already or is out of range.
func (s *bitset) add(n uint64) bool {
	if n >= bitsetMax {
		return false
	}
	w, bit := n/64, uint64(1)<<(n%64)
	if w >= uint64(len(s.words)) {
		s.words = append(s.words, make([]uint64, w+1-uint64(len(s.words)))...)
	}
	if s.words[w]&bit != 0 {
		return false
	}
	s.words[w] |= bit
	s.count++
	s.max = max(s.max, n)
	return true
}
