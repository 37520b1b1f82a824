package subject

import (
	"sync"
	"sync/atomic"
)

const (
	cacheShards = 16
	// entriesMax bounds the entries of one shard.
	entriesMax = 512
	// weightMax bounds the subscriptions that the results of one shard hold
	// together, so that a few subjects with great fan-out cannot fill memory.
	weightMax = 1 << 16
	// doorSlots is the size of the table of subjects seen once.
	doorSlots = 1 << 13
)

// cache remembers results for literal subjects.
//
// Problem: replies go to inboxes, so most distinct subjects are published to
// once and never again. A cache that takes every subject is all garbage.
//
// So a subject enters the cache at the second miss only: door holds a
// fingerprint of subjects that missed, and a subject whose fingerprint is there
// is let in. Two subjects that share a slot only cost a hit.
//
// Entries are never invalidated: each carries the generation that it is true
// for, and a look-up with a newer one misses.
type cache[T comparable] struct {
	shards [cacheShards]cacheShard[T]
	door   [doorSlots]atomic.Uint32
}

type cacheShard[T comparable] struct {
	mu      sync.RWMutex
	entries map[string]cacheEntry[T]
	weight  int
	_       [64]byte // shards do not share a cache line
}

type cacheEntry[T comparable] struct {
	generation uint64
	result     *Result[T]
}

func (c *cache[T]) shard(hash uint64) *cacheShard[T] { return &c.shards[hash%cacheShards] }

// get returns the result for s at that generation, or nil.
func (c *cache[T]) get(s []byte, hash, generation uint64) *Result[T] {
	sh := c.shard(hash)
	sh.mu.RLock()
	e, ok := sh.entries[string(s)]
	sh.mu.RUnlock()
	if !ok || e.generation != generation {
		return nil
	}
	return e.result
}

// admits tells whether a subject that missed has missed before.
func (c *cache[T]) admits(hash uint64) bool {
	slot := &c.door[(hash>>8)%doorSlots]
	mark := uint32(hash>>32) | 1
	if slot.Load() == mark {
		return true
	}
	slot.Store(mark)
	return false
}

// put adds a result and evicts, at random, what is over the limits.
func (c *cache[T]) put(s []byte, hash, generation uint64, r *Result[T]) {
	weight := r.size()
	if weight > weightMax/2 {
		return
	}
	sh := c.shard(hash)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if old, ok := sh.entries[string(s)]; ok {
		if old.generation > generation {
			return
		}
		sh.weight -= old.result.size()
	}
	if sh.entries == nil {
		sh.entries = make(map[string]cacheEntry[T])
	}
	sh.entries[string(s)] = cacheEntry[T]{generation, r}
	sh.weight += weight
	for victim, e := range sh.entries { // the order of a map is random
		if len(sh.entries) <= entriesMax && sh.weight <= weightMax {
			break
		}
		if victim != string(s) {
			sh.weight -= e.result.size()
			delete(sh.entries, victim)
		}
	}
}
