package stan

import "time"

// gatherMax is how long a queue group waits after a restart for its members to
// come back, from the first one on: a little more than client libraries wait
// before they connect again.
const gatherMax = 3 * time.Second

// enter has a subscription that is listened on join.
//
// After a restart a queue group owes what is pending to all of its members: so
// that the first one back does not get everything, it waits until all are back,
// for a while. Whoever enters meanwhile waits too. The caller holds op.
func (g *group) enter(s *subscription) error {
	if !g.gathering {
		g.f.interest.remove(s)
		return g.join(s)
	}
	now := g.f.opts.Now()
	if now.Before(g.gatherNext) {
		g.f.interest.add(s) // which calls again
		return nil
	}
	if g.gatherTill.IsZero() {
		g.gatherTill = now.Add(gatherMax)
	}
	g.gatherNext = now.Add(interestRound / 2)
	members := g.list()
	back := make([]*subscription, 0, len(members))
	for _, m := range members {
		if m == s || g.f.bus.HasInterest(m.inbox) {
			back = append(back, m)
		}
	}
	if len(back) < len(members) && now.Before(g.gatherTill) {
		g.f.interest.add(s)
		return nil
	}
	g.gathering = false
	for _, m := range back {
		g.f.interest.remove(m)
	}
	return g.join(back...)
}
