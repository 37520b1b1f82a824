package consumer

import (
	"fmt"
	"log/slog"
	"time"

	"leat.dev/leat/partition/cursor"
	"leat.dev/leat/partition/delivery"
	"leat.dev/leat/segment/record"
)

// A Source is the channel. All methods may be called at once.
type Source interface {
	// First and Last are the channel's first and last offset that can be read.
	First() record.Offset
	Last() record.Offset

	// Open returns a reader from an offset on.
	Open(from record.Offset) Reader

	// Watch has notify called after every change of First and Last. It must
	// only wake someone, which it does.
	Watch(notify func()) (cancel func())
}

// A Reader reads the channel forward. It is used by one goroutine.
type Reader interface {
	// Next returns the next batch, inflated, of which the records from first
	// on are to be read. It is valid until the next call of any method. ok is
	// false when there is none.
	Next(b *record.Batch) (first int, ok bool, err error)

	// Pause gives up what the reader holds of the log until the next Next.
	Pause()

	// Close ends the reader.
	Close()
}

// Progress takes the consumer's progress to the log.
type Progress interface {
	// Advance logs a delta of the cursor. It keeps nothing of delta. It calls
	// done once, from any goroutine, when that is durable or has failed.
	Advance(delta []byte, done func(error))
}

// A Sink is the way to one member.
type Sink interface {
	// Deliver takes a run of records. They and the slice are valid until it
	// returns. It must not block and not call the consumer's Join, Leave,
	// Stats or Close. It reports whether the member is full: then nothing more
	// comes until Resume is called, which may happen at any time after Deliver
	// was entered.
	Deliver(run []Delivery) (full bool)
}

// A Delivery is one record on its way to a member.
type Delivery struct {
	record.Record
	Count uint32 // how often it was sent before
}

// Redelivered reports whether the record was sent before.
func (d *Delivery) Redelivered() bool { return d.Count > 0 }

// A Member is what a consumer starts with.
type Member struct {
	ID      delivery.MemberID
	Options delivery.MemberOptions
	Sink    Sink
}

// Options of a Consumer. Source and Cursor are required.
type Options struct {
	// Source is the channel.
	Source Source

	// Cursor is where to go on. It belongs to the consumer from Start on.
	Cursor *cursor.Cursor

	// Delivery says how: a queue, acknowledgements, an end.
	Delivery delivery.Options

	// Members are there from the start, and share what is pending. Default
	// none.
	Members []Member

	// Progress logs the cursor. Default nil: nothing is logged, for consumers
	// that do not outlive their members.
	Progress Progress

	// Done is called once, by the loop, when the end that Delivery sets is
	// reached and all is acknowledged. Default nil.
	Done func()

	// LogInterval is how old progress gets before it is logged. Default
	// 100 ms, 1 ms to 1 h. Longer means fewer log entries and more records
	// sent twice after a crash.
	LogInterval time.Duration

	// LogAcks is how many acknowledgements are logged before LogInterval is
	// over. Default 1,024.
	LogAcks int

	// TurnRecords is how many records are decided on at once. Default 1,024, 1
	// to 65,536. More holds up events for longer.
	TurnRecords int

	// AcksMax bounds the mailbox, in ranges of acknowledgements. Default
	// 16,384.
	AcksMax int

	// RetryDelay is how long to wait after a read or a log entry failed.
	// Default 1 s.
	RetryDelay time.Duration

	// Now is the clock. Default time.Now.
	Now func() time.Time

	// Logger takes what goes wrong. Default: discarded.
	Logger *slog.Logger
}

// EnsureDefaults fills in what is not set.
func (o *Options) EnsureDefaults() {
	if o.LogInterval == 0 {
		o.LogInterval = 100 * time.Millisecond
	}
	if o.LogAcks == 0 {
		o.LogAcks = 1024
	}
	if o.TurnRecords == 0 {
		o.TurnRecords = 1024
	}
	if o.AcksMax == 0 {
		o.AcksMax = 16384
	}
	if o.RetryDelay == 0 {
		o.RetryDelay = time.Second
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
}

// Validate returns ErrOptions when something is missing or out of range.
func (o *Options) Validate() error {
	switch {
	case o.Source == nil || o.Cursor == nil:
		return fmt.Errorf("source and cursor are required: %w", ErrOptions)
	case o.LogInterval < time.Millisecond || o.LogInterval > time.Hour:
		return fmt.Errorf("log interval %v, want 1ms to 1h: %w", o.LogInterval, ErrOptions)
	case o.LogAcks < 1:
		return fmt.Errorf("log acks %d, want 1 or more: %w", o.LogAcks, ErrOptions)
	case o.TurnRecords < 1 || o.TurnRecords > 65536:
		return fmt.Errorf("turn records %d, want 1 to 65536: %w", o.TurnRecords, ErrOptions)
	case o.AcksMax < 1:
		return fmt.Errorf("acks max %d, want 1 or more: %w", o.AcksMax, ErrOptions)
	case o.RetryDelay < 0:
		return fmt.Errorf("retry delay %v, want 0 or more: %w", o.RetryDelay, ErrOptions)
	}
	return nil
}
