package delivery

import "leat.dev/leat/segment/record"

// Next appends to dst what can be sent now, given that last is the channel's
// last offset: first what a resume owes, then new records up to the members'
// limits. It sends limit records at most; call it again until it appends
// nothing.
func (g *Group) Next(now int64, last record.Offset, limit int, dst []Send) []Send {
	if len(g.order) == 0 || limit <= 0 {
		return dst
	}
	if g.Resuming() {
		if dst, limit = g.resume(now, limit, dst); g.Resuming() || limit == 0 {
			return dst
		}
	}
	n := g.wanted(last)
	if len(g.order) == 1 {
		return g.nextRange(now, min(n, uint64(limit)), dst)
	}
	return g.nextSpread(now, min(n, uint64(limit)), dst)
}

// wanted returns how many new records there are to send.
func (g *Group) wanted(last record.Offset) uint64 {
	if g.opts.Stop > 0 {
		last = min(last, g.opts.Stop)
	}
	if last <= g.cursor.LastSent() {
		return 0
	}
	n := uint64(last - g.cursor.LastSent())
	if g.opts.CountMax > 0 {
		n = min(n, g.opts.CountMax-min(g.sent, g.opts.CountMax))
	}
	return n
}

// resume sends what is pending from before the first member joined. Flights
// are made as it goes: the cursor may owe more than fits in memory.
func (g *Group) resume(now int64, limit int, dst []Send) ([]Send, int) {
	for ; limit > 0 && g.Resuming(); limit-- {
		o, ok := g.cursor.NextPending(g.resumeAt)
		if !ok || o > g.resumeTo {
			g.resumeAt = g.resumeTo
			break
		}
		m := g.choose(true)
		if m == nil {
			break
		}
		g.resumeAt = o
		dst = appendSend(dst, m.id, o, g.cursor.Redeliver(o))
		g.launch(now, m, o, o)
	}
	return dst, limit
}

// nextRange sends up to n new records to the only member.
func (g *Group) nextRange(now int64, n uint64, dst []Send) []Send {
	m := g.order[0]
	if m.paused {
		return dst
	}
	if m.opts.MaxInFlight > 0 {
		n = min(n, uint64(max(0, m.opts.MaxInFlight-m.q.n)))
	}
	if n == 0 {
		return dst
	}
	from := g.cursor.LastSent() + 1
	to := from + record.Offset(n) - 1
	g.cursor.Sent(to)
	g.sent += n
	g.launch(now, m, from, to)
	return append(dst, Send{Member: m.id, From: from, To: to})
}

// nextSpread sends up to n new records to the members of a queue.
func (g *Group) nextSpread(now int64, n uint64, dst []Send) []Send {
	for ; n > 0; n-- {
		m := g.choose(false)
		if m == nil {
			break
		}
		o := g.cursor.LastSent() + 1
		g.cursor.Sent(o)
		g.sent++
		g.launch(now, m, o, o)
		dst = appendSend(dst, m.id, o, 0)
	}
	return dst
}

// launch puts records in flight to a member; without acknowledgements they
// have arrived at once.
func (g *Group) launch(now int64, m *member, from, to record.Offset) {
	if g.opts.Acks == AckNone {
		g.cursor.AckRange(from, to)
		return
	}
	expiry := m.expiry(now)
	for o := from; o <= to; o++ {
		m.q.push(&g.flights, g.flights.add(o, m.slot, expiry))
	}
}

// choose returns the member that gets the next record, or nil when it has to
// wait: the one with the fewest in flight among those neither stalled, paused
// nor suspect; otherwise the first that is not paused and, unless forced, not
// stalled. (The streaming server takes the first even if it is stalled, and
// then sends nothing to anyone until the next event.) A member chosen from the
// head of the list goes to its tail.
func (g *Group) choose(forced bool) *member {
	var best, otherwise *member
	for _, m := range g.order {
		if m.paused {
			continue
		}
		stalled := m.stalled()
		if !stalled && !m.suspect {
			if best == nil || m.q.n < best.q.n {
				best = m
			}
		} else if otherwise == nil && (forced || !stalled) {
			otherwise = m
		}
	}
	if best == nil {
		best = otherwise
	}
	if n := len(g.order); n > 1 && best == g.order[0] {
		copy(g.order, g.order[1:])
		g.order[n-1] = best
	}
	return best
}

// appendSend appends one record to the actions, joining it to the last one
// when it follows on.
func appendSend(dst []Send, id MemberID, o record.Offset, count uint32) []Send {
	if n := len(dst); n > 0 {
		if l := &dst[n-1]; l.Member == id && l.To+1 == o && l.Count == count {
			l.To = o
			return dst
		}
	}
	return append(dst, Send{Member: id, From: o, To: o, Count: count})
}
