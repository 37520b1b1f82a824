package partition

import (
	"fmt"
	"sync"

	"leat.dev/leat/segment/record"
)

// An Append is a run of records for one channel that are stored together: all
// or none, with offsets that follow each other. It is made by NewAppend, filled
// by one goroutine, and given away by Channel.Append.
type Append struct {
	// Done is called exactly once after Channel.Append, when Base, Time and Err
	// are set, by a goroutine of the partition that must not be held up. After
	// it returned the Append belongs to the partition again.
	Done func(*Append)
	// User is the caller's: what Done needs to know.
	User any

	// Base is the first record's offset, Time the records' time; valid in Done
	// when Err is nil.
	Base record.Offset
	Time int64
	// Err says why nothing was stored, or, if it is ErrUnknownOutcome, that
	// this is not known.
	Err error

	channel *Channel
	builder record.Builder
	batch   []byte // the finished batch, in the builder's memory
}

var appendPool = sync.Pool{New: func() any { return new(Append) }}

// NewAppend returns an empty Append for the channel.
func (c *Channel) NewAppend() *Append {
	a := appendPool.Get().(*Append)
	a.channel = c
	a.builder.Reset(c.name)
	return a
}

// Channel is the one that the Append is for.
func (a *Append) Channel() *Channel { return a.channel }

// Count is the number of records so far.
func (a *Append) Count() int { return a.builder.Count() }

// Bytes is the size of the records so far, with what surrounds them.
func (a *Append) Bytes() int { return a.builder.Bytes() }

// Add copies one record in; its value is r.Value followed by more. Offset and
// Time of r are not used. It returns ErrTooLarge, and adds nothing, when a part
// is over the limits of package record.
func (a *Append) Add(r *record.Record, more []byte) error {
	if len(r.Key) > record.KeyBytesMax || len(r.Subject) > record.SubjectBytesMax ||
		len(r.Headers) > record.HeaderBytesMax || len(r.Value)+len(more) > record.ValueBytesMax {
		return fmt.Errorf("%w: key of %d, subject of %d, headers of %d, value of %d bytes", ErrTooLarge,
			len(r.Key), len(r.Subject), len(r.Headers), len(r.Value)+len(more))
	}
	a.builder.Append(r, more)
	return nil
}

// AddValue is Add of a record that is only a value.
func (a *Append) AddValue(value []byte) error {
	if len(value) > record.ValueBytesMax {
		return fmt.Errorf("%w: value of %d bytes", ErrTooLarge, len(value))
	}
	a.builder.AppendValue(value)
	return nil
}

// AppendBytesMax is the size from which a caller should give an Append away
// instead of adding to it.
const AppendBytesMax = 1 << 20

// Append gives the Append away to be stored. It blocks while the partition's
// queue is full; that is how a source is slowed down. The outcome comes by
// Done, also when the channel or the partition is gone. An Append without
// records is done at once.
func (c *Channel) Append(a *Append) {
	if a.channel != c {
		panic("partition: Append given to another channel than it was made for")
	}
	if a.builder.Count() == 0 {
		a.finish(nil)
		return
	}
	a.batch = a.builder.Finish(record.Codec(c.codec.Load()))
	c.part.enqueue(item{bytes: len(a.batch), channel: c, data: a})
}

// Discard gives back an Append that will not be stored. Done is not called.
func (a *Append) Discard() { a.recycle() }

func (a *Append) finish(err error) {
	a.Err = channelError(a.channel.name, err)
	if a.Done != nil {
		a.Done(a)
	}
	a.recycle()
}

// appendBufferKeepBytes bounds what an idle Append holds on to.
const appendBufferKeepBytes = 2 << 20

func (a *Append) recycle() {
	builder := a.builder
	if cap(a.batch) > appendBufferKeepBytes {
		builder = record.Builder{}
	}
	*a = Append{builder: builder}
	appendPool.Put(a)
}
