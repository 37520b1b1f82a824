package partition

import (
	"context"
	"sort"
	"strings"

	"github.com/cespare/xxhash/v2"
)

// Set is all partitions of a node: what front-ends work with. A name belongs to
// the partition that its hash says, so nothing has to be agreed on to make a
// channel. Its methods may be called at once from any goroutine.
type Set struct {
	parts []*Partition
}

// NewSet makes a set of the partitions 0 to len(parts)−1.
func NewSet(parts []*Partition) *Set { return &Set{parts: parts} }

// Route is the number of the partition, of n, that a name belongs to. The
// function is part of the format: it must never change.
func Route(name string, n int) int { return int(xxhash.Sum64String(name) % uint64(n)) }

// Partitions returns the partitions in order.
func (s *Set) Partitions() []*Partition { return s.parts }

// Of is the partition that a name (of a channel, or of a session) belongs to.
func (s *Set) Of(name string) *Partition { return s.parts[Route(name, len(s.parts))] }

// Channel returns the channel of that name, and false when it does not exist.
func (s *Set) Channel(name string) (*Channel, bool) { return s.Of(name).Channel(name) }

// Ensure returns the channel of that name. When there is none, it returns a
// channel that comes into being with what is first stored in it.
func (s *Set) Ensure(name string) (*Channel, error) { return s.Of(name).Ensure(name) }

// Create makes a channel; see Partition.Create.
func (s *Set) Create(ctx context.Context, name string, cfg Config) (*Channel, error) {
	return s.Of(name).Create(ctx, name, cfg)
}

// Channels lists every channel that exists, sorted by name.
func (s *Set) Channels() []*Channel {
	var list []*Channel
	for _, p := range s.parts {
		p.Channels(func(c *Channel) { list = append(list, c) })
	}
	sort.Slice(list, func(i, j int) bool { return list[i].name < list[j].name })
	return list
}

// Session returns a stored value of a front-end.
func (s *Set) Session(kind byte, name string) ([]byte, bool) { return s.Of(name).Session(kind, name) }

// Sessions lists the stored values of a kind, sorted by name.
func (s *Set) Sessions(kind byte) []Session {
	var list []Session
	for _, p := range s.parts {
		list = append(list, p.Sessions(kind)...)
	}
	sort.Slice(list, func(i, j int) bool { return strings.Compare(list[i].Name, list[j].Name) < 0 })
	return list
}

// PutSession stores a value; see Partition.PutSession.
func (s *Set) PutSession(kind byte, name string, value []byte, done func(error)) {
	s.Of(name).PutSession(kind, name, value, done)
}

// DeleteSession removes a value; see Partition.DeleteSession.
func (s *Set) DeleteSession(kind byte, name string, done func(error)) {
	s.Of(name).DeleteSession(kind, name, done)
}
