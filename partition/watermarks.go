package partition

import "fmt"

// Watermarks are the places in the log at which an entry's life turns. Each is
// the Raft index of the first entry that has not come so far.
//
//	First ≤ Committed ≤ Durable ≤ Next
type Watermarks struct {
	First     uint64 // entries below are dropped
	Committed uint64 // entries below are final: applied, or being applied now
	Durable   uint64 // entries below are synced here
	Next      uint64 // entries of the proposer that are under way lie below
}

// Watermarks returns what is so now.
func (p *Partition) Watermarks() Watermarks {
	// In this order, as each only moves up and the ones before may not pass it.
	w := Watermarks{First: p.opts.Log.First()}
	w.Committed = max(p.committed.Load()+1, w.First)
	last, _ := p.opts.Log.Last()
	w.Durable = last + 1
	w.Next = w.Durable + uint64(p.flights.Load())
	return w
}

func (w Watermarks) check() error {
	if w.First > w.Committed || w.Committed > w.Durable || w.Durable > w.Next {
		return fmt.Errorf("watermarks are out of order: first %d, committed %d, durable %d, next %d", w.First, w.Committed, w.Durable, w.Next)
	}
	return nil
}
