package delivery

import (
	"math"
	"math/bits"

	"leat.dev/leat/segment/record"
)

// none is the missing slot, list neighbour or heap place.
const none = int32(-1)

// never is the expiry of what does not expire.
const never = int64(math.MaxInt64)

// A flight is one record on its way: sent to a member, not acknowledged.
type flight struct {
	offset     record.Offset
	expiry     int64 // ns
	owner      int32 // slot of the member
	prev, next int32 // in the owner's list; next also links free slots
	heap       int32 // place in the owner's heap, or none
}

// flights holds all records in flight of a group. They are found by offset
// through a hash table, and in order of expiry through their owner's queue.
//
// Why not a ring by offset: one record that is never acknowledged would make
// it as long as the channel grows. Why not one heap: nearly all records expire
// in the order they were sent in, and a list does that in constant time. Slots
// are recycled; after the first growth nothing is allocated.
type flights struct {
	slots []flight
	free  int32
	n     int

	// The table is open addressing with linear probing, at most half full. A
	// key of zero is empty: offsets start from 1.
	keys  []record.Offset
	vals  []int32
	shift uint8
}

const tableMin = 64

func (f *flights) init() {
	*f = flights{free: none}
}

// home returns the first place to look for an offset. Multiplying by 2^64/φ
// spreads neighbours evenly, so probes are short for the dense runs that
// offsets in flight are.
func (f *flights) home(o record.Offset) int {
	return int(uint64(o) * 0x9E3779B97F4A7C15 >> f.shift)
}

// find returns the slot of the offset, or none.
func (f *flights) find(o record.Offset) int32 {
	if f.n == 0 {
		return none
	}
	mask := len(f.keys) - 1
	for i := f.home(o); ; i = (i + 1) & mask {
		switch f.keys[i] {
		case o:
			return f.vals[i]
		case 0:
			return none
		}
	}
}

// add makes a flight of an offset that has none and returns its slot.
func (f *flights) add(o record.Offset, owner int32, expiry int64) int32 {
	if 2*(f.n+1) > len(f.keys) {
		f.grow()
	}
	s := f.free
	if s != none {
		f.free = f.slots[s].next
	} else {
		s = int32(len(f.slots))
		f.slots = append(f.slots, flight{})
	}
	f.slots[s] = flight{offset: o, expiry: expiry, owner: owner, prev: none, next: none, heap: none}
	f.put(o, s)
	f.n++
	return s
}

func (f *flights) put(o record.Offset, s int32) {
	mask := len(f.keys) - 1
	i := f.home(o)
	for f.keys[i] != 0 {
		i = (i + 1) & mask
	}
	f.keys[i], f.vals[i] = o, s
}

// remove frees the slot. It must be in no queue any more.
func (f *flights) remove(s int32) {
	o := f.slots[s].offset
	mask := len(f.keys) - 1
	i := f.home(o)
	for f.keys[i] != o {
		i = (i + 1) & mask
	}
	// Close the gap: move back what would not be found across it.
	for j := (i + 1) & mask; f.keys[j] != 0; j = (j + 1) & mask {
		h := f.home(f.keys[j])
		if (j-h)&mask >= (j-i)&mask {
			f.keys[i], f.vals[i] = f.keys[j], f.vals[j]
			i = j
		}
	}
	f.keys[i] = 0
	f.slots[s] = flight{next: f.free, owner: none}
	f.free = s
	f.n--
}

func (f *flights) grow() {
	size := max(tableMin, 2*len(f.keys))
	f.keys, f.vals = make([]record.Offset, size), make([]int32, size)
	f.shift = uint8(64 - bits.Len(uint(size-1)))
	for s := range f.slots {
		if fl := &f.slots[s]; fl.offset != 0 {
			f.put(fl.offset, int32(s))
		}
	}
}

// before is the order in which records are sent again.
func (f *flights) before(a, b int32) bool {
	x, y := &f.slots[a], &f.slots[b]
	if x.expiry != y.expiry {
		return x.expiry < y.expiry
	}
	return x.offset < y.offset
}

// queue is what one member has in flight, in order of expiry: a list of what
// was sent once, which expires in the order of sending, and a heap of the rest
// (sent again, or taken over), which does not.
type queue struct {
	head, tail int32
	heap       []int32
	n          int
}

func (q *queue) init() {
	q.head, q.tail, q.n = none, none, 0
	q.heap = q.heap[:0]
}

// push appends to the list. A clock that went back must not break the order.
func (q *queue) push(f *flights, s int32) {
	fl := &f.slots[s]
	fl.prev = q.tail
	if q.tail == none {
		q.head = s
	} else {
		fl.expiry = max(fl.expiry, f.slots[q.tail].expiry)
		f.slots[q.tail].next = s
	}
	q.tail = s
	q.n++
}

// pushHeap puts the slot into the heap.
func (q *queue) pushHeap(f *flights, s int32) {
	f.slots[s].heap = int32(len(q.heap))
	q.heap = append(q.heap, s)
	q.up(f, len(q.heap)-1)
	q.n++
}

// first returns the slot that expires first, or none.
func (q *queue) first(f *flights) int32 {
	switch {
	case len(q.heap) == 0:
		return q.head
	case q.head == none || f.before(q.heap[0], q.head):
		return q.heap[0]
	default:
		return q.head
	}
}

// take removes the slot from the list or the heap.
func (q *queue) take(f *flights, s int32) {
	fl := &f.slots[s]
	q.n--
	if fl.heap != none {
		i, last := int(fl.heap), len(q.heap)-1
		fl.heap = none
		if i != last {
			q.heap[i] = q.heap[last]
			f.slots[q.heap[i]].heap = int32(i)
		}
		q.heap = q.heap[:last]
		if i != last {
			q.down(f, i)
			q.up(f, i)
		}
		return
	}
	if fl.prev == none {
		q.head = fl.next
	} else {
		f.slots[fl.prev].next = fl.next
	}
	if fl.next == none {
		q.tail = fl.prev
	} else {
		f.slots[fl.next].prev = fl.prev
	}
	fl.prev, fl.next = none, none
}

func (q *queue) up(f *flights, i int) {
	for i > 0 {
		parent := (i - 1) / 2
		if !f.before(q.heap[i], q.heap[parent]) {
			return
		}
		q.swap(f, i, parent)
		i = parent
	}
}

func (q *queue) down(f *flights, i int) {
	for {
		c := 2*i + 1
		if c >= len(q.heap) {
			return
		}
		if c+1 < len(q.heap) && f.before(q.heap[c+1], q.heap[c]) {
			c++
		}
		if !f.before(q.heap[c], q.heap[i]) {
			return
		}
		q.swap(f, i, c)
		i = c
	}
}

func (q *queue) swap(f *flights, i, j int) {
	q.heap[i], q.heap[j] = q.heap[j], q.heap[i]
	f.slots[q.heap[i]].heap = int32(i)
	f.slots[q.heap[j]].heap = int32(j)
}
