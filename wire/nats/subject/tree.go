package subject

import (
	"bytes"
	"fmt"
	"hash/maphash"
	"sync"
	"sync/atomic"
)

// familyCount is the number of generation counters, see Tree.Family.
const familyCount = 64

// A Tree keeps subscriptions by pattern. All methods may be called at once from
// any goroutine.
//
// Subscriptions come and go all the time (every old-style request makes and
// drops an inbox), and whoever keeps results of past matches must notice. One
// counter for the whole tree would throw away everyone's results at each
// change. So subjects fall into families by their first token, each with a
// counter of its own; a pattern that starts with a wildcard counts for all.
type Tree[T comparable] struct {
	mu   sync.RWMutex // guards root and everything below it
	root node[T]

	count    atomic.Int64
	families [familyCount]atomic.Uint64 // changed under mu
	all      atomic.Uint64              // changed under mu

	seed  maphash.Seed
	cache cache[T]
}

// NewTree returns an empty tree.
func NewTree[T comparable]() *Tree[T] { return &Tree[T]{seed: maphash.MakeSeed()} }

// Insert adds v under a pattern, to the named queue group or, with an empty
// name, as a plain subscription. It is in force when Insert returns. The caller
// does not insert the same v twice under equal pattern and queue.
func (t *Tree[T]) Insert(pattern, queue string, v T) error {
	if !ValidPattern(pattern) {
		return fmt.Errorf("%w: %q", ErrPattern, pattern)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	n := &t.root
	for rest, more := pattern, true; more; {
		var tok string
		tok, rest, more = token(rest)
		n = n.childOrNew(tok)
	}
	n.insert(queue, v)
	t.count.Add(1)
	t.changed(pattern)
	return nil
}

// Remove takes v away again and tells whether it was there. It is out of force
// when Remove returns.
func (t *Tree[T]) Remove(pattern, queue string, v T) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.root.removePath(pattern, queue, v) {
		return false
	}
	t.count.Add(-1)
	t.changed(pattern)
	return true
}

// changed makes results of earlier matches stale. The caller holds mu.
func (t *Tree[T]) changed(pattern string) {
	first, _, _ := token(pattern)
	if first == string(anyOne) || first == string(anyRest) {
		t.all.Add(1)
		return
	}
	t.families[family(first)].Add(1)
}

// family returns the family of subjects that start with the token that s
// starts with. FNV-1a: first tokens are short, and few.
func family[S text](s S) uint8 {
	h := uint32(2166136261)
	for i := 0; i < len(s) && s[i] != separator; i++ {
		h = (h ^ uint32(s[i])) * 16777619
	}
	return uint8((h ^ h>>16) % familyCount)
}

// Family returns the family that subject falls into, for Generation. It never
// changes, so that it can be kept with the subject.
func (t *Tree[T]) Family(subject []byte) uint8 { return family(subject) }

// Generation returns a number that grows with every change that may concern
// subjects of the family. Read it before Match, keep it with the result, and
// the result is true as long as Generation returns the same.
func (t *Tree[T]) Generation(family uint8) uint64 {
	// Both counters only grow, so that equal sums mean that both are equal.
	return t.families[family%familyCount].Load() + t.all.Load()
}

// Count returns the number of subscriptions.
func (t *Tree[T]) Count() int { return int(t.count.Load()) }

// HasMatch tells whether anything matches the subject.
func (t *Tree[T]) HasMatch(subject []byte) bool {
	if hasEmptyToken(subject) {
		return false
	}
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.root.any(subject)
}

// Match returns what a published subject matches. If the subject has been
// matched before, the result may be one that is shared by all and stays as it
// is; otherwise it is scratch, filled. shared tells which. Wildcards in the
// subject are ordinary tokens that only wildcards match.
func (t *Tree[T]) Match(subject []byte, scratch *Result[T]) (r *Result[T], shared bool) {
	generation := t.Generation(family(subject))
	hash := maphash.Bytes(t.seed, subject)
	if r := t.cache.get(subject, hash, generation); r != nil {
		return r, true
	}
	scratch.reset()
	if hasEmptyToken(subject) {
		scratch.AnyLast = false
		return scratch, false
	}
	t.mu.RLock()
	t.root.match(subject, scratch)
	t.mu.RUnlock()
	if bytes.IndexByte(subject, separator) < 0 {
		scratch.AnyLast = false // its last token is its first, which says the family
	}
	if !t.cache.admits(hash) {
		return scratch, false
	}
	r = scratch.clone()
	t.cache.put(subject, hash, generation, r)
	return r, true
}
