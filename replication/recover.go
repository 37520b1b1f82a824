package replication

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/hashicorp/raft"

	"leat.dev/leat/segment"
	"leat.dev/leat/segment/record"
)

// recovery finds where Raft starts from; see "Start" in the package comment. It runs before Raft exists.
type recovery struct {
	o         *Options
	log       Log
	snapshots *snapshotStore
	votes     *voteFile
	damaged   error // snapshots that cannot be read, nil if none
}

// bootstrap writes the configuration that a node without any state starts with. It can be repeated after a crash.
func (r *recovery) bootstrap() error {
	last, _ := r.log.Last()
	v := r.votes.get()
	if last != 0 || r.snapshots.newest().index != 0 {
		return nil
	}
	if v.term > 1 || v.voteTerm != 0 || r.damaged != nil {
		if r.o.Transport != nil && r.damaged == nil {
			return nil // a new member may vote before it gets its first entry
		}
		return fmt.Errorf("partition %d: %w: the log is empty, and this node has voted in term %d", r.o.Partition, ErrLogLost, v.term)
	}
	servers := r.o.Servers
	if r.o.Transport == nil {
		servers = []raft.Server{{ID: raft.ServerID(r.o.ServerID), Address: soleAddress}}
	}
	if len(servers) == 0 {
		return nil
	}
	if err := r.votes.set(func(v *vote) { v.term = 1 }); err != nil {
		return fmt.Errorf("bootstrap partition %d: %w", r.o.Partition, err)
	}
	first := LogEntry{
		Index: 1, Term: 1, Type: record.FrameConfiguration,
		Payload: raft.EncodeConfiguration(raft.Configuration{Servers: servers}),
	}
	if err := r.log.Append([]LogEntry{first}); err != nil {
		return fmt.Errorf("bootstrap partition %d: %w", r.o.Partition, err)
	}
	return nil
}

// start returns, as a snapshot without contents, the index up to which the machine has everything.
func (r *recovery) start() (*snapshot, error) {
	newest := r.snapshots.newest()
	applied := r.o.Machine.Applied()
	last, lastTerm := r.log.Last()
	known := max(newest.index, applied)
	if last < known {
		return nil, fmt.Errorf("partition %d: %w: it ends at %d, and %d was applied", r.o.Partition, ErrLogLost, last, known)
	}
	if last == 0 {
		return newest, nil
	}
	if first := r.log.First(); newest.index+1 < first {
		err := fmt.Errorf("partition %d: %w: the log begins at %d, the newest snapshot is of %d", r.o.Partition, ErrDamaged,
			first, newest.index)
		if r.damaged != nil {
			err = fmt.Errorf("%w (%w)", err, r.damaged)
		}
		return nil, err
	}
	if err := r.checkSnapshot(newest); err != nil {
		return nil, err
	}
	confs, err := r.configurations(newest, last)
	if err != nil {
		return nil, err
	}
	committed := known
	if last >= r.log.First() {
		h, err := r.header(last)
		if err != nil {
			return nil, err
		}
		committed = max(known, min(h.CommitHint, last))
	}
	if r.soleFrom(confs, committed) {
		// Only this node can be elected, and a leader never cuts its log.
		committed = last
	}
	if err := r.checkVote(max(lastTerm, newest.term), confs); err != nil {
		return nil, err
	}
	return r.startAt(committed, newest, confs)
}

// checkSnapshot makes sure that the newest snapshot is one of this log. It is not when a folder was put back from another
// time or another place, and Raft would never notice.
func (r *recovery) checkSnapshot(newest *snapshot) error {
	if newest.index < r.log.First() {
		return nil // there is none, or retention took the entry since
	}
	m, err := decodeManifest(newest.manifest)
	if err == nil && (m.partition != r.o.Partition || m.index != newest.index || m.term != newest.term) {
		err = fmt.Errorf("%w: manifest of partition %d, entry %d of term %d", ErrDamaged, m.partition, m.index, m.term)
	}
	if err != nil {
		return fmt.Errorf("partition %d: snapshot of entry %d, term %d: %w", r.o.Partition, newest.index, newest.term, err)
	}
	h, err := r.header(m.index)
	if err != nil {
		return err
	}
	const whose = "this node's newest snapshot"
	if h.Term != m.term {
		// It was committed when the snapshot was taken, so no leader can have replaced it.
		return fmt.Errorf("partition %d: %w: entry %d is of term %d here and of %d in %s", r.o.Partition,
			ErrForked, m.index, h.Term, m.term, whose)
	}
	return r.sameHistory(m, &h, whose)
}

// sameHistory compares a manifest with the log, which has an entry of the same index and term. By Raft's rules all entries
// up to there are equal then. The chain at that entry is the whole of the test: it covers every entry before. The listed
// segments are compared where a segment ends with the same entry here, which costs no read: then a difference says where the
// two logs part, or which row is wrong. Hashes are not compared, since they cover what is local to a node; see manifest.go.
func (r *recovery) sameHistory(m *manifest, h *record.FrameHeader, whose string) error {
	if !m.chained {
		return nil
	}
	here := r.log.Segments()
	for i := range m.sealed {
		s := &m.sealed[i]
		at, ok := slices.BinarySearchFunc(here, s.last, func(i segment.Info, last uint64) int { return cmp.Compare(i.Last, last) })
		if ok && here[at].Chain != s.chain {
			return fmt.Errorf("partition %d: %w: entries up to %d have chain %016x here (%s) and %016x in %s (segment %d)",
				r.o.Partition, ErrForked, s.last, here[at].Chain, here[at].Path, s.chain, whose, s.id)
		}
	}
	if h.Chain != m.chain {
		return fmt.Errorf("partition %d: %w: entries up to %d have chain %016x here and %016x in %s", r.o.Partition,
			ErrForked, m.index, h.Chain, m.chain, whose)
	}
	return nil
}

// startAt replays up to an index, which is committed.
func (r *recovery) startAt(committed uint64, newest *snapshot, confs []*snapshot) (*snapshot, error) {
	if err := r.replay(committed); err != nil {
		return nil, err
	}
	start := &snapshot{index: committed}
	for _, c := range confs {
		if c.confIndex <= committed {
			start.conf, start.confIndex = c.conf, c.confIndex
		}
	}
	if committed == newest.index {
		start.term = newest.term
		return start, nil
	}
	h, err := r.header(committed)
	if err != nil {
		return nil, err
	}
	start.term = h.Term
	return start, nil
}

// checkVote makes a vote file that is new fit for a log that is not, or refuses. A sole voter cannot vote twice, so all that
// it needs is a term that is not below its log's.
func (r *recovery) checkVote(logTerm uint64, confs []*snapshot) error {
	if r.votes.get().term >= logTerm {
		return nil
	}
	if !r.soleFrom(confs, 0) {
		return fmt.Errorf("partition %d: %w: %s says term %d, the log is at term %d; replace this node in its cluster, "+
			"under a new id", r.o.Partition, ErrVoteLost, r.votes.file.Name(), r.votes.get().term, logTerm)
	}
	r.o.Logger.Warn("term and vote were lost and are made from the log, since this node is the only voter",
		"file", r.votes.file.Name(), "term", logTerm)
	return r.votes.set(func(v *vote) { v.term = logTerm })
}

// configurations returns those of the newest snapshot and of the log behind it. It reads headers, and payloads of
// configurations only.
func (r *recovery) configurations(newest *snapshot, last uint64) ([]*snapshot, error) {
	var confs []*snapshot
	if newest.confIndex != 0 {
		confs = append(confs, newest)
	}
	for i := newest.index + 1; i <= last; i++ {
		h, err := r.header(i)
		if err != nil {
			return nil, err
		}
		if h.Type != record.FrameConfiguration {
			continue
		}
		e, _, err := r.log.Entry(i, nil)
		if err != nil {
			return nil, r.unreadable(i, err)
		}
		conf, err := decodeConfiguration(e.Payload)
		if err != nil {
			return nil, r.unreadable(i, err)
		}
		confs = append(confs, &snapshot{conf: conf, confIndex: i})
	}
	return confs, nil
}

// soleFrom tells whether this node is the only voter in all configurations that were in force at an index or after it.
func (r *recovery) soleFrom(confs []*snapshot, from uint64) bool {
	found := false
	for i, c := range confs {
		if i+1 < len(confs) && confs[i+1].confIndex <= from {
			continue // another one was in force by then
		}
		found = true
		if len(c.conf.Servers) != 1 || string(c.conf.Servers[0].ID) != r.o.ServerID {
			return false
		}
	}
	return found
}

// replayed at once: entries and, roughly, bytes.
const (
	replayEntriesMax = 64
	replayBytesMax   = 1 << 20
)

// replay gives the machine the entries that it lacks, up to an index.
func (r *recovery) replay(to uint64) error {
	from := r.o.Machine.Applied() + 1
	if from > to {
		return nil
	}
	if first := r.log.First(); from < first {
		return fmt.Errorf("partition %d: %w: the machine needs %d, the log begins at %d", r.o.Partition, ErrNeedsBootstrap, from, first)
	}
	var bufs [replayEntriesMax][]byte
	entries := make([]Entry, 0, replayEntriesMax)
	bytes := 0
	for i := from; i <= to; i++ {
		n := len(entries)
		e, buf, err := r.log.Entry(i, bufs[n])
		if err != nil {
			return r.unreadable(i, err)
		}
		bufs[n] = buf
		if e.Type == record.FrameData {
			entries = append(entries, Entry{Index: e.Index, Term: e.Term, Time: e.Time, Payload: e.Payload})
			bytes += len(e.Payload)
		}
		if len(entries) == replayEntriesMax || bytes >= replayBytesMax || (i == to && len(entries) > 0) {
			r.o.Machine.Apply(entries)
			entries, bytes = entries[:0], 0
		}
	}
	r.o.Logger.Info("replayed the log", "from", from, "to", to)
	return nil
}

func (r *recovery) header(index uint64) (record.FrameHeader, error) {
	h, err := r.log.Header(index)
	if err != nil {
		return h, r.unreadable(index, err)
	}
	return h, nil
}

func (r *recovery) unreadable(index uint64, err error) error {
	return fmt.Errorf("partition %d: %w: read entry %d: %w", r.o.Partition, ErrDamaged, index, err)
}
