package delivery

import (
	"fmt"
	"math"
	"time"

	"leat.dev/leat/segment/record"
)

// AckPolicy says whether members acknowledge what they are sent.
type AckPolicy uint8

const (
	// AckExplicit: each record is in flight until it is acknowledged.
	AckExplicit AckPolicy = iota
	// AckNone: a record counts as acknowledged when it is sent. Nothing is in
	// flight, and nothing is sent again.
	AckNone
)

const (
	// expirySlack is how much too early a record may be sent again, so that
	// records sent in a burst do not take a timer each. The reference server
	// of NATS Streaming uses the same 15 ms.
	expirySlack = 15 * time.Millisecond

	// TransferDelay is when a queue sends again what a member left behind.
	TransferDelay = 100 * time.Millisecond
)

// Options of a Group. The zero value is a plain consumer with explicit
// acknowledgements and no end.
type Options struct {
	// Queue lets more than one member join. Default false.
	Queue bool

	// Acks says whether records are acknowledged. Default AckExplicit.
	Acks AckPolicy

	// Stop is the last offset to deliver. Default 0: no end. Set it for a
	// replay of a range.
	Stop record.Offset

	// CountMax is how many records to deliver; redeliveries and holes do not
	// count. Default 0: no limit. Set it for a replay of so many records.
	CountMax uint64
}

// EnsureDefaults fills in what is not set. The zero value needs nothing.
func (o *Options) EnsureDefaults() {}

// Validate returns ErrOptions when the options make no sense.
func (o *Options) Validate() error {
	if o.Acks > AckNone {
		return fmt.Errorf("ack policy %d: %w", o.Acks, ErrOptions)
	}
	return nil
}

// MemberOptions say how one member is delivered to.
type MemberOptions struct {
	// MaxInFlight is how many records it may have unacknowledged before new
	// ones are withheld. Default 0: no limit but the caller's.
	MaxInFlight int

	// AckWait is how long after a record was sent it is sent again. Default
	// 0: never.
	AckWait time.Duration
}

// Validate returns ErrOptions when a value is out of range.
func (o *MemberOptions) Validate() error {
	if o.MaxInFlight < 0 || o.MaxInFlight > math.MaxInt32 {
		return fmt.Errorf("max in flight %d, want 0 to %d: %w", o.MaxInFlight, math.MaxInt32, ErrOptions)
	}
	if o.AckWait < 0 {
		return fmt.Errorf("ack wait %v, want 0 or more: %w", o.AckWait, ErrOptions)
	}
	return nil
}
