package subject

import (
	"bytes"
	"maps"
)

const (
	// indexFrom is the number of plain subscriptions on one node from which
	// their places are kept in a map, so that removal stays O(1).
	indexFrom = 32
	// shrinkFrom is the number of children that a map must once have had for
	// it to be rebuilt when most of them are gone: Go maps do not shrink.
	shrinkFrom = 1024
)

// node is one token of the trie. Everything in it is guarded by the Tree's mu.
type node[T comparable] struct {
	children *children[T] // by literal token, nil when there is none
	one      *node[T]     // "*"
	rest     *node[T]     // ">", always a leaf
	plain    set[T]
	groups   []group[T] // few, so a list
}

type children[T comparable] struct {
	byToken map[string]*node[T]
	peak    int // largest size since the map was made
}

type group[T comparable] struct {
	name    string
	members set[T]
}

// set is a list with O(1) insert and remove; order does not matter.
type set[T comparable] struct {
	list  []T
	index map[T]int // place in list; nil while the list is short
}

func (s *set[T]) insert(v T) {
	s.list = append(s.list, v)
	switch {
	case s.index != nil:
		s.index[v] = len(s.list) - 1
	case len(s.list) == indexFrom:
		s.index = make(map[T]int, 2*indexFrom)
		for i, v := range s.list {
			s.index[v] = i
		}
	}
}

func (s *set[T]) remove(v T) bool {
	at := -1
	if s.index != nil {
		i, ok := s.index[v]
		if !ok {
			return false
		}
		at = i
	} else {
		for i := range s.list {
			if s.list[i] == v {
				at = i
				break
			}
		}
		if at < 0 {
			return false
		}
	}
	last := len(s.list) - 1
	s.list[at] = s.list[last]
	if s.index != nil {
		s.index[s.list[at]] = at
		delete(s.index, v)
	}
	var zero T
	s.list[last] = zero
	s.list = s.list[:last]
	switch {
	case last == 0:
		s.list, s.index = nil, nil
	case cap(s.list) > shrinkFrom && last < cap(s.list)/4:
		s.list = append(make([]T, 0, 2*last), s.list...)
		s.index = make(map[T]int, 2*last)
		for i, v := range s.list {
			s.index[v] = i
		}
	}
	return true
}

func (n *node[T]) isEmpty() bool {
	return n.children == nil && n.one == nil && n.rest == nil && len(n.plain.list) == 0 && len(n.groups) == 0
}

// child returns the child for a token of a pattern, or nil.
func (n *node[T]) child(tok string) *node[T] {
	if len(tok) == 1 {
		switch tok[0] {
		case anyOne:
			return n.one
		case anyRest:
			return n.rest
		}
	}
	if n.children == nil {
		return nil
	}
	return n.children.byToken[tok]
}

// childOrNew returns the child for a token of a pattern and makes it if needed.
func (n *node[T]) childOrNew(tok string) *node[T] {
	if c := n.child(tok); c != nil {
		return c
	}
	c := &node[T]{}
	if len(tok) == 1 {
		switch tok[0] {
		case anyOne:
			n.one = c
			return c
		case anyRest:
			n.rest = c
			return c
		}
	}
	if n.children == nil {
		n.children = &children[T]{byToken: make(map[string]*node[T])}
	}
	n.children.byToken[tok] = c
	n.children.peak = max(n.children.peak, len(n.children.byToken))
	return c
}

// drop forgets the child for a token of a pattern.
func (n *node[T]) drop(tok string) {
	if len(tok) == 1 {
		switch tok[0] {
		case anyOne:
			n.one = nil
			return
		case anyRest:
			n.rest = nil
			return
		}
	}
	ch := n.children
	delete(ch.byToken, tok)
	switch size := len(ch.byToken); {
	case size == 0:
		n.children = nil
	case ch.peak >= shrinkFrom && size < ch.peak/8:
		smaller := make(map[string]*node[T], 2*size)
		maps.Copy(smaller, ch.byToken)
		ch.byToken, ch.peak = smaller, size
	}
}

func (n *node[T]) insert(queue string, v T) {
	if queue == "" {
		n.plain.insert(v)
		return
	}
	for i := range n.groups {
		if n.groups[i].name == queue {
			n.groups[i].members.insert(v)
			return
		}
	}
	n.groups = append(n.groups, group[T]{name: queue})
	n.groups[len(n.groups)-1].members.insert(v)
}

func (n *node[T]) remove(queue string, v T) bool {
	if queue == "" {
		return n.plain.remove(v)
	}
	for i := range n.groups {
		if n.groups[i].name != queue {
			continue
		}
		if !n.groups[i].members.remove(v) {
			return false
		}
		if len(n.groups[i].members.list) == 0 {
			last := len(n.groups) - 1
			n.groups[i] = n.groups[last]
			n.groups[last] = group[T]{}
			if n.groups = n.groups[:last]; last == 0 {
				n.groups = nil
			}
		}
		return true
	}
	return false
}

// removePath removes v below n and prunes what has become empty. It recurses
// once per token, of which there are at most half as many as bytes.
func (n *node[T]) removePath(pattern, queue string, v T) bool {
	tok, rest, more := token(pattern)
	c := n.child(tok)
	if c == nil {
		return false
	}
	var removed bool
	if more {
		removed = c.removePath(rest, queue, v)
	} else {
		removed = c.remove(queue, v)
	}
	if removed && c.isEmpty() {
		n.drop(tok)
	}
	return removed
}

// match adds to r every subscription below n that matches the tokens of s,
// none of which is empty. It recurses only where a "*" has children.
func (n *node[T]) match(s []byte, r *Result[T]) {
	for {
		if n.rest != nil {
			r.add(n.rest)
		}
		i := bytes.IndexByte(s, separator)
		if i < 0 {
			if n.one != nil {
				r.add(n.one)
			}
			if n.children != nil {
				r.AnyLast = false
				if c := n.children.byToken[string(s)]; c != nil {
					r.add(c)
				}
			}
			return
		}
		if n.one != nil {
			n.one.match(s[i+1:], r)
		}
		if n.children == nil {
			return
		}
		if n = n.children.byToken[string(s[:i])]; n == nil {
			return
		}
		s = s[i+1:]
	}
}

// any tells whether match would find something.
func (n *node[T]) any(s []byte) bool {
	for {
		if n.rest != nil {
			return true
		}
		i := bytes.IndexByte(s, separator)
		if i < 0 {
			if n.one.holdsAny() {
				return true
			}
			return n.children != nil && n.children.byToken[string(s)].holdsAny()
		}
		if n.one != nil && n.one.any(s[i+1:]) {
			return true
		}
		if n.children == nil {
			return false
		}
		if n = n.children.byToken[string(s[:i])]; n == nil {
			return false
		}
		s = s[i+1:]
	}
}

func (n *node[T]) holdsAny() bool {
	return n != nil && (len(n.plain.list) > 0 || len(n.groups) > 0)
}
