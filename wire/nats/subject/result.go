package subject

// A Result is what one subject matches. A Result that Tree.Match returned and
// that is not the caller's own is shared and must not be changed.
type Result[T comparable] struct {
	// Plain subscriptions each get the message.
	Plain []T
	// Of each group, one member gets it. Groups of one name that were
	// subscribed through different patterns are one group here.
	Groups []Group[T]
	// AnyLast tells that a subject of more than one token with another last one
	// in place of its own matches the same, for as long as the generation stays:
	// on the way no literal last token was to be told from others. Replies go to such subjects, an inbox with a number behind it.
	AnyLast bool
}

// A Group is the matching members of one queue group.
type Group[T comparable] struct {
	Name    string
	Members []T
}

// IsEmpty tells whether nothing matches.
func (r *Result[T]) IsEmpty() bool { return len(r.Plain) == 0 && len(r.Groups) == 0 }

// size is the number of subscriptions in r.
func (r *Result[T]) size() int {
	n := len(r.Plain)
	for i := range r.Groups {
		n += len(r.Groups[i].Members)
	}
	return n
}

// reset empties r and keeps its memory, but no reference to subscriptions.
func (r *Result[T]) reset() {
	clear(r.Plain)
	r.Plain = r.Plain[:0]
	for i := range r.Groups {
		clear(r.Groups[i].Members)
		r.Groups[i].Members = r.Groups[i].Members[:0]
		r.Groups[i].Name = ""
	}
	r.Groups = r.Groups[:0]
	r.AnyLast = true
}

// add appends what hangs on one node.
func (r *Result[T]) add(n *node[T]) {
	r.Plain = append(r.Plain, n.plain.list...)
	for i := range n.groups {
		g := r.group(n.groups[i].name)
		g.Members = append(g.Members, n.groups[i].members.list...)
	}
}

// group returns the group of that name in r and adds it if needed.
func (r *Result[T]) group(name string) *Group[T] {
	for i := range r.Groups {
		if r.Groups[i].Name == name {
			return &r.Groups[i]
		}
	}
	if len(r.Groups) < cap(r.Groups) {
		r.Groups = r.Groups[:len(r.Groups)+1] // with the memory of its Members
	} else {
		r.Groups = append(r.Groups, Group[T]{})
	}
	g := &r.Groups[len(r.Groups)-1]
	g.Name = name
	return g
}

// clone returns a copy that shares no memory with r and is just large enough.
func (r *Result[T]) clone() *Result[T] {
	c := &Result[T]{AnyLast: r.AnyLast}
	if len(r.Plain) > 0 {
		c.Plain = append(make([]T, 0, len(r.Plain)), r.Plain...)
	}
	if len(r.Groups) > 0 {
		c.Groups = make([]Group[T], len(r.Groups))
		for i := range r.Groups {
			members := r.Groups[i].Members
			c.Groups[i] = Group[T]{Name: r.Groups[i].Name, Members: append(make([]T, 0, len(members)), members...)}
		}
	}
	return c
}
