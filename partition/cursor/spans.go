package cursor

import (
	"slices"
	"sort"

	"leat.dev/leat/segment/record"
)

// span is a range of offsets, both ends included.
type span struct {
	from, to record.Offset
}

func (s span) len() uint64 { return uint64(s.to-s.from) + 1 }

// A leaf holds up to leafSpansMax spans. 64 spans are 1 KiB: what moves on an
// insertion stays in a few cache lines.
const leafSpansMax = 64

// A leaf below leafSpansLow takes its right neighbour in when both fit.
const leafSpansLow = leafSpansMax / 4

type leaf struct {
	n int
	s [leafSpansMax]span
}

// spans is a set of offsets kept as sorted, disjoint spans that do not touch.
//
// Problem: with 16,384 records in flight and acknowledgements in random order
// there are thousands of spans, and each acknowledgement adds, grows or joins
// one. A flat sorted slice moves 64 KiB per insertion; a bitmap grows with the
// distance between a forgotten record and the newest, and believes hostile
// input; a tree of nodes allocates per acknowledgement.
//
// So: a list of leaves, each a small sorted array. An operation is two binary
// searches and a move within 1 KiB. Memory follows the number of spans. Leaves
// are recycled, so a steady state allocates nothing.
//
// Invariants: no leaf in the list is empty; spans ascend through all leaves;
// between two neighbours at least one offset is missing.
type spans struct {
	leaves  []*leaf
	free    []*leaf
	offsets uint64 // how many offsets are in the set
}

func (t *spans) empty() bool { return len(t.leaves) == 0 }

// find returns the place of the last span that starts at or before x. The
// index of the span is -1 when there is none.
func (t *spans) find(x record.Offset) (li, si int) {
	lo, hi := 0, len(t.leaves)
	for lo < hi {
		mid := int(uint(lo+hi) >> 1)
		if t.leaves[mid].s[0].from <= x {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	if lo == 0 {
		return 0, -1
	}
	li = lo - 1
	lf := t.leaves[li]
	lo, hi = 1, lf.n
	for lo < hi {
		mid := int(uint(lo+hi) >> 1)
		if lf.s[mid].from <= x {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	return li, lo - 1
}

// has reports whether x is in the set.
func (t *spans) has(x record.Offset) bool {
	li, si := t.find(x)
	return si >= 0 && t.leaves[li].s[si].to >= x
}

// missing returns the first offset at or after x that is not in the set.
func (t *spans) missing(x record.Offset) record.Offset {
	li, si := t.find(x)
	if si >= 0 && t.leaves[li].s[si].to >= x {
		return t.leaves[li].s[si].to + 1
	}
	return x
}

// after returns the span that follows the place, or nil.
func (t *spans) after(li, si int) (nli, nsi int, next *span) {
	if li >= len(t.leaves) {
		return 0, 0, nil
	}
	if si+1 < t.leaves[li].n {
		return li, si + 1, &t.leaves[li].s[si+1]
	}
	if li+1 < len(t.leaves) {
		return li + 1, 0, &t.leaves[li+1].s[0]
	}
	return 0, 0, nil
}

// add puts from to to into the set and returns how many of them were new.
func (t *spans) add(from, to record.Offset) uint64 {
	li, si := t.find(from)
	var added uint64
	switch {
	case si >= 0 && t.leaves[li].s[si].to >= to:
		return 0
	case si >= 0 && t.leaves[li].s[si].to+1 >= from:
		p := &t.leaves[li].s[si]
		added = uint64(to - p.to)
		p.to = to
	default:
		if _, _, next := t.after(li, si); next != nil && next.from == to+1 {
			added = span{from, to}.len()
			next.from = from
			t.offsets += added
			return added
		}
		li, si = t.insert(li, si+1, span{from, to})
		added = span{from, to}.len()
	}
	// The span at the place may now reach into those that follow.
	for {
		nli, nsi, next := t.after(li, si)
		if next == nil || next.from > to+1 {
			break
		}
		p := &t.leaves[li].s[si]
		if next.to > to {
			added -= uint64(to + 1 - next.from)
			p.to = next.to
			t.remove(nli, nsi)
			break
		}
		added -= next.len()
		t.remove(nli, nsi)
	}
	t.offsets += added
	return added
}

// insert puts s at the place and returns where it is.
func (t *spans) insert(li, si int, s span) (int, int) {
	if len(t.leaves) == 0 {
		t.leaves = append(t.leaves, t.newLeaf())
	}
	lf := t.leaves[li]
	if lf.n == leafSpansMax {
		right := t.newLeaf()
		half := leafSpansMax / 2
		if li == len(t.leaves)-1 && si == leafSpansMax {
			half = leafSpansMax // appending: leave the left one full
		}
		right.n = copy(right.s[:], lf.s[half:lf.n])
		lf.n = half
		t.leaves = slices.Insert(t.leaves, li+1, right)
		if si > half || half == leafSpansMax {
			li, si = li+1, si-half
			lf = right
		}
	}
	copy(lf.s[si+1:lf.n+1], lf.s[si:lf.n])
	lf.s[si] = s
	lf.n++
	return li, si
}

// remove takes the span at the place out of the list. It does not count.
func (t *spans) remove(li, si int) {
	lf := t.leaves[li]
	copy(lf.s[si:], lf.s[si+1:lf.n])
	lf.n--
	if lf.n == 0 {
		t.dropLeaves(li, li+1)
		return
	}
	if lf.n < leafSpansLow && li+1 < len(t.leaves) {
		right := t.leaves[li+1]
		if lf.n+right.n <= leafSpansMax*3/4 {
			lf.n += copy(lf.s[lf.n:], right.s[:right.n])
			t.dropLeaves(li+1, li+2)
		}
	}
}

// cut removes everything up to and including x.
func (t *spans) cut(x record.Offset) {
	whole := 0
	for whole < len(t.leaves) {
		lf := t.leaves[whole]
		if lf.s[lf.n-1].to > x {
			break
		}
		for _, s := range lf.s[:lf.n] {
			t.offsets -= s.len()
		}
		whole++
	}
	if whole > 0 {
		t.dropLeaves(0, whole)
	}
	if len(t.leaves) == 0 {
		return
	}
	lf := t.leaves[0]
	gone := sort.Search(lf.n, func(i int) bool { return lf.s[i].to > x })
	for _, s := range lf.s[:gone] {
		t.offsets -= s.len()
	}
	if first := &lf.s[gone]; first.from <= x {
		t.offsets -= uint64(x-first.from) + 1
		first.from = x + 1
	}
	if gone > 0 {
		lf.n = copy(lf.s[:], lf.s[gone:lf.n])
	}
}

// takeFirst removes the first span when it starts at x.
func (t *spans) takeFirst(x record.Offset) (span, bool) {
	if len(t.leaves) == 0 || t.leaves[0].s[0].from != x {
		return span{}, false
	}
	s := t.leaves[0].s[0]
	t.offsets -= s.len()
	t.remove(0, 0)
	return s, true
}

func (t *spans) newLeaf() *leaf {
	if n := len(t.free); n > 0 {
		lf := t.free[n-1]
		t.free = t.free[:n-1]
		return lf
	}
	return &leaf{}
}

// leavesKept is how many leaves a set keeps for reuse, over and above as many as
// it uses: 128 KiB, which is what a window of 16,384 takes when it is
// acknowledged in random order.
const leavesKept = 128

// dropLeaves removes leaves [i, j). It keeps some for reuse, so that a set that
// breathes does not allocate and one that was large once gives memory back.
func (t *spans) dropLeaves(i, j int) {
	for _, lf := range t.leaves[i:j] {
		if len(t.free) < len(t.leaves)+leavesKept {
			lf.n = 0
			t.free = append(t.free, lf)
		}
	}
	t.leaves = slices.Delete(t.leaves, i, j)
}

// count returns the number of spans.
func (t *spans) count() int {
	n := 0
	for _, lf := range t.leaves {
		n += lf.n
	}
	return n
}

// all calls yield for each span in order.
func (t *spans) all(yield func(span) bool) {
	for _, lf := range t.leaves {
		for _, s := range lf.s[:lf.n] {
			if !yield(s) {
				return
			}
		}
	}
}
