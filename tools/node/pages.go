package node

import (
	"strings"
	"time"

	"leat.dev/leat/partition"
	"leat.dev/leat/wire/admin"
)

// varz is the page that NATS monitoring tools read; its names are those of
// nats-server.
type varz struct {
	ServerID      string    `json:"server_id"`
	Version       string    `json:"version"`
	ClusterID     string    `json:"cluster_id"`
	Partitions    int       `json:"partitions"`
	Start         time.Time `json:"start"`
	Now           time.Time `json:"now"`
	Connections   int       `json:"connections"`
	Total         uint64    `json:"total_connections"`
	Subscriptions int       `json:"subscriptions"`
	InMsgs        uint64    `json:"in_msgs"`
	OutMsgs       uint64    `json:"out_msgs"`
	InBytes       uint64    `json:"in_bytes"`
	OutBytes      uint64    `json:"out_bytes"`
	SlowConsumers uint64    `json:"slow_consumers"`
}

type channelz struct {
	Channels []channelRow `json:"channels"`
	Total    int          `json:"total"`
	Offset   int          `json:"offset"`
	Limit    int          `json:"limit"`
}

type channelRow struct {
	Channel   string `json:"channel"`
	Partition uint32 `json:"partition"`
	First     uint64 `json:"first"`
	Last      uint64 `json:"last"`
	Records   uint64 `json:"records"`
	Bytes     uint64 `json:"bytes"`
	Cursors   int    `json:"cursors"`
}

type partitionRow struct {
	Partition int    `json:"partition"`
	State     string `json:"state"`
	Term      uint64 `json:"term"`
	First     uint64 `json:"first_index"`
	Committed uint64 `json:"committed_index"`
	Last      uint64 `json:"last_index"`
	Applied   uint64 `json:"applied_index"`
	Segments  int    `json:"segments"`
	Bytes     int64  `json:"bytes"`
	Tail      string `json:"tail_found_at_start"`
	Error     string `json:"error,omitempty"`
}

// pages are what the admin server shows.
func (n *Node) pages() map[string]admin.Page {
	start := time.Unix(0, n.opts.Now()).UTC()
	return map[string]admin.Page{
		"/varz":       func(admin.Query) (any, error) { return n.varz(start), nil },
		"/channelz":   func(q admin.Query) (any, error) { return n.channelz(q), nil },
		"/partitionz": func(admin.Query) (any, error) { return n.partitionz(), nil },
	}
}

func (n *Node) varz(start time.Time) varz {
	s := n.router.Stats()
	id := n.Identity()
	return varz{
		ServerID: id.NodeID, Version: n.opts.Version, ClusterID: id.ClusterID, Partitions: id.Partitions,
		Start: start, Now: time.Unix(0, n.opts.Now()).UTC(),
		Connections: s.Connections, Total: s.ConnectionsTotal, Subscriptions: s.Subscriptions,
		InMsgs: s.InMsgs, OutMsgs: s.OutMsgs, InBytes: s.InBytes, OutBytes: s.OutBytes, SlowConsumers: s.SlowConsumers,
	}
}

func (n *Node) channelz(q admin.Query) channelz {
	page := channelz{Channels: []channelRow{}, Offset: q.Offset, Limit: q.Limit}
	for _, c := range n.storage.set.Channels() {
		if !strings.HasPrefix(c.Name(), q.Prefix) {
			continue
		}
		if page.Total >= q.Offset && len(page.Channels) < q.Limit {
			page.Channels = append(page.Channels, rowOf(c))
		}
		page.Total++
	}
	return page
}

func rowOf(c *partition.Channel) channelRow {
	i := c.Info()
	return channelRow{
		Channel: i.Name, Partition: c.Partition().ID(), First: uint64(i.First), Last: uint64(i.Last),
		Records: i.Records, Bytes: i.Bytes, Cursors: len(c.Cursors()),
	}
}

func (n *Node) partitionz() []partitionRow {
	rows := make([]partitionRow, 0, len(n.storage.shards))
	for i, sh := range n.storage.shards {
		st := sh.group.Status()
		row := partitionRow{
			Partition: i, State: st.State, Term: st.Term, First: st.First, Committed: st.Commit, Last: st.Last,
			Applied: st.Applied, Tail: sh.log.Recovery().Tail.String(),
		}
		if st.Err != nil {
			row.Error = st.Err.Error()
		}
		for _, seg := range sh.log.Segments() {
			row.Segments++
			row.Bytes += seg.Bytes
		}
		rows = append(rows, row)
	}
	return rows
}
