package stan_test

import (
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	official "github.com/nats-io/stan.go/pb"
	"github.com/stretchr/testify/require"

	"leat.dev/leat/wire/stan"
)

// late is a client whose connection comes back that long after it was lost.
func (s *server) late(id string, after time.Duration) *raw {
	s.t.Helper()
	nc, err := nats.Connect(s.url(), nats.MaxReconnects(-1), nats.CustomReconnectDelay(func(int) time.Duration { return after }))
	require.NoError(s.t, err)
	s.t.Cleanup(nc.Close)
	r := &raw{t: s.t, nc: nc}
	require.Empty(s.t, r.hello(id, 1))
	return r
}

// count returns how many messages come until none does for d.
func (r *raw) count(sub *nats.Subscription, d time.Duration) (n int) {
	r.t.Helper()
	for {
		m, err := sub.NextMsg(d)
		if err != nil {
			require.ErrorIs(r.t, err, nats.ErrTimeout)
			return n
		}
		var p official.MsgProto
		require.NoError(r.t, p.Unmarshal(m.Data))
		require.True(r.t, p.Redelivered)
		n++
	}
}

// Aim: after a restart what a queue group owes is shared by its members, also
// when one of them is back before the others; one that stays away does not hold
// the rest up for long. Method: three members with 30 messages each; one comes
// back at once, one after half a second, one not at all; a fourth joins while
// the group waits.
func TestQueueGathersAfterRestart(t *testing.T) {
	for name, again := range map[string]func(*server){"stop": (*server).restart, "kill": (*server).kill} {
		t.Run(name, func(t *testing.T) {
			s := start(t, stan.Options{})
			members := []*raw{s.late("soon", 0), s.late("late", 500*time.Millisecond), s.late("never", time.Hour)}
			subs := make([]*nats.Subscription, len(members))
			for i, r := range members {
				subs[i], _ = r.subscribe(&official.SubscriptionRequest{Subject: "foo", QGroup: "g", MaxInFlight: 100})
			}
			for range 90 {
				require.Empty(t, members[0].publish(&official.PubMsg{ClientID: "soon", Guid: "g", Subject: "foo"}))
			}
			for i, r := range members {
				for range 30 {
					require.False(t, r.next(subs[i]).Redelivered)
				}
			}
			time.Sleep(300 * time.Millisecond) // places are logged now and then
			again(s)
			began := time.Now()
			require.Eventually(t, members[0].nc.IsConnected, patience, time.Millisecond)
			fourth := s.late("fourth", 0)
			sub, a := fourth.subscribe(&official.SubscriptionRequest{Subject: "foo", QGroup: "g", MaxInFlight: 100})
			require.Empty(t, a.Error)

			first, err := subs[0].NextMsg(patience)
			require.NoError(t, err)
			require.NotNil(t, first)
			require.Less(t, time.Since(began), 5*time.Second)
			counts := []int{
				1 + members[0].count(subs[0], 300*time.Millisecond), members[1].count(subs[1], 300*time.Millisecond),
				fourth.count(sub, 300*time.Millisecond),
			}
			require.Equal(t, []int{30, 30, 30}, counts)
		})
	}
}
