package delivery

// Expire appends to dst what has to be sent again: all that was not
// acknowledged in time, by expiry and then by offset. In a queue any member may
// get it. It ignores MaxInFlight. It sends limit records at most; if more are
// due, Deadline says so.
//
// A record sent again to the same member expires AckWait after it expired, not
// after now: this is what NATS Streaming does, and keeps a steady rhythm. When
// that has passed already (the group was held up) it is AckWait from now; the
// streaming server sends such a record over and over instead.
func (g *Group) Expire(now int64, limit int, dst []Send) []Send {
	for ; limit > 0; limit-- {
		m, s := g.due(now)
		if m == nil {
			break
		}
		to := m
		if g.opts.Queue {
			if to = g.choose(true); to == nil {
				break // all are paused
			}
		}
		m.q.take(&g.flights, s)
		fl := &g.flights.slots[s]
		again := to.expiry(now)
		if rhythm := fl.expiry + int64(m.opts.AckWait); to == m && m.opts.AckWait > 0 && rhythm > now+m.slack() {
			again = rhythm
		}
		fl.owner, fl.expiry = to.slot, again
		to.q.pushHeap(&g.flights, s)
		dst = appendSend(dst, to.id, fl.offset, g.cursor.Redeliver(fl.offset))
	}
	return dst
}

// due returns the record to be sent again first, and its member; nil when
// there is none. Nothing that is put back in flight at now is due at now, so
// who calls this until nil comes to an end.
func (g *Group) due(now int64) (*member, int32) {
	var first *member
	slot := none
	for _, m := range g.order {
		s := m.q.first(&g.flights)
		if s == none || g.flights.slots[s].expiry > now+m.slack() || now < m.quietUntil {
			continue
		}
		if !g.opts.Queue {
			if m.paused {
				continue
			}
			if m.suspect {
				m.quietUntil = m.expiry(now)
				continue
			}
		}
		if first == nil || g.flights.before(s, slot) {
			first, slot = m, s
		}
	}
	return first, slot
}

// Deadline returns when to call Expire next, and whether at all. It may be in
// the past. It changes with every call of Next, Expire, Leave, Pause, Unpause
// and Suspect; an acknowledgement can only make it later.
func (g *Group) Deadline() (int64, bool) {
	at, open := never, false
	for _, m := range g.order {
		open = open || !m.paused
		if m.paused && !g.opts.Queue {
			continue // nobody else can take it
		}
		if s := m.q.first(&g.flights); s != none && g.flights.slots[s].expiry != never {
			at = min(at, max(g.flights.slots[s].expiry, m.quietUntil))
		}
	}
	return at, open && at != never
}
