package node

import (
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"leat.dev/leat/index"
	"leat.dev/leat/partition"
	"leat.dev/leat/replication"
	"leat.dev/leat/segment"
	"leat.dev/leat/segment/vfs"
)

// storage is everything below the front-ends.
type storage struct {
	opts     *Options
	lock     io.Closer
	identity Identity
	index    *index.Index
	shards   []*shard
	set      *partition.Set
}

// shard is one partition with what it stands on.
type shard struct {
	log   *segment.Log
	part  *partition.Partition
	group *replication.Group
	// ready is part once it is open: the log may seal a segment before.
	ready atomic.Pointer[partition.Partition]
}

func openStorage(o *Options, reg *prometheus.Registry) (s *storage, err error) {
	s = &storage{opts: o}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.close())
			s = nil
		}
	}()
	if err := vfs.MkdirAllSync(o.Files, o.Dir); err != nil {
		return s, fmt.Errorf("make data directory: %w", err)
	}
	if s.lock, err = o.Files.Lock(filepath.Join(o.Dir, "LOCK")); err != nil {
		if errors.Is(err, vfs.ErrLocked) {
			return s, fmt.Errorf("data directory %s is in use by another process: %w", o.Dir, err)
		}
		return s, fmt.Errorf("lock data directory: %w", err)
	}
	if s.identity, err = identify(o.Files, o.Dir, o); err != nil {
		return s, err
	}
	if err := s.openIndex(reg); err != nil {
		return s, err
	}
	return s, s.openShards(reg)
}

// openShards opens the partitions side by side: most of the time of a first
// start is spent on writing their first segments.
func (s *storage) openShards(reg *prometheus.Registry) error {
	var work errgroup.Group
	work.SetLimit(shardsAtOnce)
	for i := range s.identity.Partitions {
		sh := &shard{}
		s.shards = append(s.shards, sh)
		work.Go(func() error {
			if err := s.openShard(sh, uint32(i), reg); err != nil {
				return fmt.Errorf("partition %d: %w", i, err)
			}
			return nil
		})
	}
	if err := work.Wait(); err != nil {
		return err
	}
	parts := make([]*partition.Partition, 0, len(s.shards))
	for _, sh := range s.shards {
		parts = append(parts, sh.part)
	}
	s.set = partition.NewSet(parts)
	return nil
}

const shardsAtOnce = 8

// openIndex opens the index, and makes a damaged one anew: all that is in it is
// in the segments.
func (s *storage) openIndex(reg *prometheus.Registry) (err error) {
	o := index.Options{
		Dir: filepath.Join(s.opts.Dir, "index"), FS: s.opts.IndexFiles, Logger: s.opts.Logger, Registerer: reg,
	}
	s.index, err = index.Open(o)
	if !errors.Is(err, index.ErrDamaged) {
		return err
	}
	s.opts.Logger.Warn("the index is damaged and is made anew from the segments", "error", err)
	if err := index.Destroy(o.FS, o.Dir); err != nil {
		return err
	}
	s.index, err = index.Open(o)
	return err
}

func (s *storage) openShard(sh *shard, id uint32, reg *prometheus.Registry) (err error) {
	labelled := prometheus.WrapRegistererWith(prometheus.Labels{"partition": fmt.Sprint(id)}, reg)
	log := s.opts.Logger.With("partition", id)
	if sh.log, err = segment.Open(segment.Options{
		FS: s.opts.Files, Dir: filepath.Join(s.opts.Dir, fmt.Sprintf("partition-%04d", id)), Partition: id,
		ClusterID: s.identity.ClusterID, SegmentBytes: s.opts.SegmentBytes, Now: s.opts.Now, Logger: log, Registerer: labelled,
		OnSeal: func(segment.Info) {
			if p := sh.ready.Load(); p != nil {
				p.IndexSealed()
			}
		},
	}); err != nil {
		return err
	}
	if sh.part, err = partition.Open(partition.Options{
		ID: id, Log: sh.log, Index: s.index.Partition(id), Now: s.opts.Now,
		FlushDelay: s.opts.FlushDelay, Logger: log,
	}); err != nil {
		return err
	}
	sh.ready.Store(sh.part)
	if sh.group, err = replication.Open(replication.Options{
		Partition: id, ServerID: s.identity.NodeID, Dir: filepath.Join(s.opts.Dir, "raft"), FS: s.opts.Files,
		Log: sh.log, Machine: &machine{part: sh.part}, Logger: log, Registerer: labelled,
		OnStop: sh.part.Fail,
	}); err != nil {
		return err
	}
	sh.part.Start(&proposer{group: sh.group})
	return nil
}

// awaitLeading waits until every partition takes proposals.
func (s *storage) awaitLeading(limit time.Duration) error {
	deadline := time.NewTimer(limit)
	defer deadline.Stop()
	for i, sh := range s.shards {
		for !sh.group.Status().Leading {
			if err := sh.group.Status().Err; err != nil {
				return fmt.Errorf("partition %d: %w", i, err)
			}
			if sh.group.Status().Refusal != nil {
				break // a full disk is no reason not to serve reads
			}
			select {
			case <-time.After(time.Millisecond):
			case <-deadline.C:
				return fmt.Errorf("partition %d has no leader after %s: %+v", i, limit, sh.group.Status())
			}
		}
	}
	return nil
}

// health says why publishes would not be taken.
func (s *storage) health() error {
	for i, sh := range s.shards {
		st := sh.group.Status()
		switch {
		case st.Err != nil:
			return fmt.Errorf("partition %d has stopped: %w", i, st.Err)
		case st.Refusal != nil:
			return fmt.Errorf("partition %d takes nothing: %w", i, st.Refusal)
		case !st.Leading:
			return fmt.Errorf("partition %d: %w", i, partition.ErrNotLeader)
		}
	}
	return nil
}

func (s *storage) close() error {
	var errs []error
	for _, sh := range s.shards {
		// The group first: after it nothing is applied any more.
		if sh.part != nil {
			sh.part.Fail(partition.ErrClosed)
		}
		if sh.group != nil {
			errs = append(errs, sh.group.Close())
		}
		if sh.part != nil {
			errs = append(errs, sh.part.Close())
		}
		sh.ready.Store(nil)
		if sh.log != nil {
			errs = append(errs, sh.log.Close())
		}
	}
	if s.index != nil {
		errs = append(errs, s.index.Close())
	}
	if s.lock != nil {
		errs = append(errs, s.lock.Close())
	}
	return errors.Join(errs...)
}
