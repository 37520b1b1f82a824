package vfs

import "maps"

// entryOp is a change of one directory that no SyncDir has covered yet.
//
//	name     node      meaning
//	given    given     name stands for node; node has no other name in this directory (create, mkdir, rename)
//	given    nil       was removed: name stands for nothing, if it stood for gone
//
// A rename between two directories is two ops, tied by arrival: the removal never persists before the new name does,
// as no file system loses a file that is moved. The new name may persist alone; the file then has both.
type entryOp struct {
	dir     *memNode
	name    string
	node    *memNode
	gone    *memNode
	arrival *entryOp // Of a removal that is half of a rename: the other half.
	durable bool     // A SyncDir has covered it.
}

// apply makes the change in a set of entries, in which any earlier change may be missing.
func (op *entryOp) apply(entries map[string]*memNode) {
	if op.node == nil {
		if entries[op.name] == op.gone {
			delete(entries, op.name)
		}
		return
	}
	maps.DeleteFunc(entries, func(_ string, node *memNode) bool { return node == op.node })
	entries[op.name] = op.node
}

// record makes a change in the present entries and remembers it as not durable.
func (n *memNode) record(op *entryOp) *entryOp {
	op.dir = n
	if old := n.entries[op.name]; old != nil && old != op.node {
		old.links--
	}
	op.apply(n.entries)
	n.pending = append(n.pending, op)
	return op
}

// link adds a new node. MemFS.mu is held exclusively, here and below.
func (n *memNode) link(name string, node *memNode) {
	node.links++
	n.record(&entryOp{name: name, node: node})
}

func (n *memNode) unlink(name string, node *memNode) {
	n.record(&entryOp{name: name, gone: node})
}

// move renames, also to another directory.
func (n *memNode) move(name string, to *memNode, newName string) {
	node := n.entries[name]
	arrival := to.record(&entryOp{name: newName, node: node})
	if to == n {
		return // The arrival has taken the old name away.
	}
	node.links++
	n.record(&entryOp{name: name, gone: node, arrival: arrival})
}

// syncEntries makes the present entries durable.
func (n *memNode) syncEntries() {
	for _, op := range n.pending {
		op.durable = true
		if op.arrival != nil && !op.arrival.durable {
			op.arrival.durable = true
			op.arrival.apply(op.arrival.dir.durable)
		}
	}
	n.pending = nil
	n.durable = maps.Clone(n.entries)
}
