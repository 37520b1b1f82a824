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
	// are set: by a goroutine of the partition, which must not be held up, or,
	// for what is refused at once, by Channel.Append itself. After it returned
	// the Append belongs to the partition again. Appends that are stored are
	// done in the order in which they were given away; those that are refused
	// may be done before.
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
	given   bool   // by Channel.Append
	givenAt int64  // ns
}

var appendPool = sync.Pool{New: func() any { return new(Append) }}

// NewAppend returns an empty Append for the channel.
func (c *Channel) NewAppend() *Append {
	a := appendPool.Get().(*Append)
	a.channel = c
	a.builder.Reset(c.name)
	return a
}

// AppendBytesMax is the size from which a caller should give an Append away
// instead of adding to it. A record of the largest size still fits on top.
const AppendBytesMax = 512 << 10

// recordBytesMax is what a record takes besides its parts: flags, three lengths,
// the producer's time, its place in the table.
const recordBytesMax = 1 + 3*3 + 8 + 4

// Channel is the one that the Append is for.
func (a *Append) Channel() *Channel { return a.channel }

// Count is the number of records so far.
func (a *Append) Count() int { return a.builder.Count() }

// Bytes is the size of the records so far, with what surrounds them.
func (a *Append) Bytes() int { return a.builder.Bytes() }

// Full tells that the Append should be given away before more is added: that it
// has AppendBytesMax bytes, or half of what a log of small segments takes.
func (a *Append) Full() bool {
	return a.builder.Bytes() >= min(AppendBytesMax, a.channel.part.appendBytesMax/2)
}

// Add copies one record in; its value is r.Value followed by more. Offset and
// Time of r are not used. It returns ErrTooLarge, and adds nothing, when a part
// is over the limits of package record, or when the Append would become larger
// than an entry of the log can be.
func (a *Append) Add(r *record.Record, more []byte) error {
	value := len(r.Value) + len(more)
	if len(r.Key) > record.KeyBytesMax || len(r.Subject) > record.SubjectBytesMax ||
		len(r.Headers) > record.HeaderBytesMax || value > record.ValueBytesMax {
		return fmt.Errorf("%w: record with a key of %d, a subject of %d, headers of %d, a value of %d bytes", ErrTooLarge,
			len(r.Key), len(r.Subject), len(r.Headers), value)
	}
	if err := a.fits(len(r.Key) + len(r.Subject) + len(r.Headers) + value); err != nil {
		return err
	}
	a.builder.Append(r, more)
	return nil
}

// AddValue is Add of a record that is only a value.
func (a *Append) AddValue(value []byte) error {
	if len(value) > record.ValueBytesMax {
		return fmt.Errorf("%w: record with a value of %d bytes", ErrTooLarge, len(value))
	}
	if err := a.fits(len(value)); err != nil {
		return err
	}
	a.builder.AppendValue(value)
	return nil
}

func (a *Append) fits(n int) error {
	a.check()
	if limit := a.channel.part.appendBytesMax; a.builder.Bytes()+n+recordBytesMax > limit {
		return fmt.Errorf("%w: record of %d bytes on top of %d, at most %d together", ErrTooLarge, n, a.builder.Bytes(), limit)
	}
	return nil
}

// check finds those who hold on to what they gave away.
func (a *Append) check() {
	if a.given || a.channel == nil {
		panic("partition: Append is used after it was given away")
	}
}

// Append gives the Append away to be stored. It blocks while the partition's
// queue is full; that is how a source is slowed down. The outcome comes by
// Done, also when the channel or the partition is gone. An Append without
// records is done at once.
func (c *Channel) Append(a *Append) {
	a.check()
	if a.channel != c {
		panic("partition: Append given to another channel than it was made for")
	}
	a.given = true
	if a.builder.Count() == 0 {
		a.finish(nil)
		return
	}
	a.givenAt = c.part.opts.Now()
	a.batch = a.builder.Finish(c.codec())
	c.part.enqueue(item{bytes: len(a.batch) + c.createBytes(), channel: c, data: a})
}

// Discard gives back an Append that will not be stored. Done is not called.
func (a *Append) Discard() {
	a.check()
	a.recycle()
}

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
	if max(cap(a.batch), builder.Bytes()) > appendBufferKeepBytes {
		builder = record.Builder{}
	}
	*a = Append{builder: builder}
	appendPool.Put(a)
}
