package api

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"leat.dev/leat/partition"
	"leat.dev/leat/segment/record"
	"leat.dev/leat/wire"
)

// replay is one replay without acknowledgements: it is held back by the
// receiver's connection alone. It belongs to the goroutine of run.
type replay struct {
	*plan
	f      *Frontend
	left   uint64 // records still to send
	to     []byte // deliver
	outlet wire.Outlet
	enc    encoder
}

func newReplay(f *Frontend, p *plan) *replay {
	r := &replay{plan: p, f: f, left: p.Count, to: []byte(p.deliver), enc: newEncoder(p)}
	if p.Count == 0 {
		r.left = ^uint64(0)
	}
	return r
}

// run delivers until the end, until nobody listens, or until ctx is done.
func (p *replay) run(ctx context.Context) error {
	p.outlet = p.f.bus.Outlet()
	defer p.outlet.Close()
	wake := make(chan struct{}, 1)
	cancel := p.channel.Watch(func() {
		select {
		case wake <- struct{}{}:
		default:
		}
	})
	defer cancel()
	reader := p.channel.NewReader(p.from)
	defer reader.Close()
	idle := time.NewTicker(interestDelay)
	defer idle.Stop()
	for {
		more, err := p.deliverStored(ctx, reader)
		if err != nil || !more {
			return err
		}
		reader.Pause()
		p.outlet.Flush()
		if !p.await(ctx, wake, idle.C) {
			return nil
		}
	}
}

// await waits for records. It returns false when nobody listens any more, or
// ctx is done.
func (p *replay) await(ctx context.Context, wake <-chan struct{}, idle <-chan time.Time) bool {
	for {
		select {
		case <-wake:
			return ctx.Err() == nil
		case <-ctx.Done():
			return false
		case <-idle:
			if !p.f.bus.HasInterest(p.deliver) {
				return false
			}
		}
	}
}

// deliverStored sends what is stored. It returns false when the replay is over.
func (p *replay) deliverStored(ctx context.Context, reader *partition.Reader) (more bool, err error) {
	var b record.Batch
	for {
		first, ok, err := reader.Next(&b)
		if err != nil {
			return false, err
		}
		if !ok {
			if p.Follow && p.channel.Exists() {
				return true, nil
			}
			p.end(reader.Offset())
			return false, nil
		}
		if more, err := p.deliverBatch(&b, first); !more || err != nil {
			return false, err
		}
		if p.outlet.Pending() > replayPendingMax {
			p.outlet.Flush()
			if err := p.outlet.Drained(ctx, replayPendingLow); err != nil {
				return false, nil //nolint:nilerr // the node stops; the receiver sees its connection end
			}
		}
	}
}

// deliverBatch sends the records of one batch from first on.
func (p *replay) deliverBatch(b *record.Batch, first int) (more bool, err error) {
	var r record.Record
	for k := first; k < int(b.Count); k++ {
		if err := b.Record(k, &r); err != nil {
			return false, fmt.Errorf("%w: channel %q: offset %d: %w", partition.ErrCorrupt, p.channel.Name(), b.Base+record.Offset(k), err)
		}
		if p.left == 0 || (!p.Follow && r.Offset > p.last) {
			p.end(r.Offset)
			return false, nil
		}
		if err := p.enc.encode(&r, 0); err != nil {
			return false, err
		}
		if p.outlet.Send(p.to, p.enc.reply, p.enc.header, r.Value, nil) == 0 {
			return false, nil // nobody listens
		}
		p.left--
	}
	if p.left == 0 {
		p.end(b.Last() + 1)
		return false, nil
	}
	return true, nil
}

// end tells the receiver that nothing more comes, and where to go on.
func (p *replay) end(next record.Offset) {
	p.outlet.Send(p.to, nil, appendEnding(nil, endOver, p.channel.Name(), next), nil, nil)
	p.outlet.Flush()
}

// appendEnding appends the header block of the last message of a replay, which
// has no payload. Its HeaderOffset is the offset to begin from next time.
func appendEnding(dst []byte, e ending, channel string, next record.Offset) []byte {
	dst = append(append(append(dst, headerLine+" "...), e...), crlf...)
	dst = append(append(dst, HeaderChannel+": "...), channel...)
	dst = append(dst, "\r\n"+HeaderOffset+": "...)
	dst = strconv.AppendUint(dst, uint64(next), 10)
	return append(dst, "\r\n\r\n"...)
}
