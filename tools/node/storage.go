package node

import (
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strconv"
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
	files    vfs.FS // of segments and Raft
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
	s = &storage{opts: o, files: o.Files}
	switch {
	case o.DiskReserveBytes == 0:
		s.files = &reserveFS{FS: o.Files, reserveBytes: DefaultDiskReserveBytes, share: diskReserveShare}
	case o.DiskReserveBytes > 0:
		s.files = &reserveFS{FS: o.Files, reserveBytes: o.DiskReserveBytes}
	}
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

// openShards opens the logs, then the partitions, then the groups, each side by
// side: most of the time of a first start is spent on writing first segments.
func (s *storage) openShards(reg *prometheus.Registry) error {
	for range s.identity.Partitions {
		s.shards = append(s.shards, &shard{})
	}
	if err := s.each(func(sh *shard, id uint32) error { return s.openLog(sh, id, reg) }); err != nil {
		return err
	}
	open := func(sh *shard, id uint32) error { return s.openPartition(sh, id, reg) }
	err := s.each(open)
	if damaged(err) {
		// Pebble looks at most of its files only when they are read.
		if err = s.renewIndex(err, reg); err == nil {
			err = s.each(open)
		}
	}
	if err != nil {
		return err
	}
	if err := s.each(func(sh *shard, id uint32) error { return s.openGroup(sh, id, reg) }); err != nil {
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

// each does a step for all shards, some at once, and returns the first error.
func (s *storage) each(step func(sh *shard, id uint32) error) error {
	var work errgroup.Group
	work.SetLimit(shardsAtOnce)
	for i, sh := range s.shards {
		work.Go(func() error {
			if err := step(sh, uint32(i)); err != nil {
				return fmt.Errorf("partition %d: %w", i, err)
			}
			return nil
		})
	}
	return work.Wait()
}

// damaged tells whether an index has to be made anew.
func damaged(err error) bool {
	return errors.Is(err, index.ErrDamaged) || errors.Is(err, index.ErrLoadInterrupted)
}

func (s *storage) indexOptions(reg *prometheus.Registry) index.Options {
	return index.Options{
		Dir: filepath.Join(s.opts.Dir, "index"), FS: s.opts.IndexFiles, Logger: s.opts.Logger, Registerer: reg,
		OnFatal: s.indexFailed,
	}
}

// indexFailed is called once when the index takes no more writes. All that is in
// it is in the segments, too, and reads of it go on, so the node goes on: the
// next start replays what it lacks. Health tells until then.
func (s *storage) indexFailed(err error) {
	s.opts.Logger.Error("the index cannot be written any more; publishes and reads go on; restart the node when the disk is well",
		"error", err)
}

// openIndex opens the index, and makes a damaged one anew.
func (s *storage) openIndex(reg *prometheus.Registry) (err error) {
	s.index, err = index.Open(s.indexOptions(reg))
	if damaged(err) {
		err = s.renewIndex(err, reg)
	}
	return err
}

// renewIndex starts from an empty index: all that is in it is in the segments.
func (s *storage) renewIndex(cause error, reg *prometheus.Registry) (err error) {
	s.opts.Logger.Warn("the index is damaged and is made anew from the segments", "error", cause)
	for _, sh := range s.shards {
		if sh.part != nil {
			sh.ready.Store(nil)
			// What it complains about is the index that is given up.
			_ = sh.part.Close()
			sh.part = nil
		}
	}
	o := s.indexOptions(reg)
	if s.index != nil {
		_ = s.index.Close() // as above
		s.index = nil
	}
	if err := index.Destroy(o.FS, o.Dir); err != nil {
		return err
	}
	s.index, err = index.Open(o)
	return err
}

func labelled(id uint32, reg *prometheus.Registry) prometheus.Registerer {
	return prometheus.WrapRegistererWith(prometheus.Labels{"partition": strconv.Itoa(int(id))}, reg)
}

func (s *storage) openLog(sh *shard, id uint32, reg *prometheus.Registry) (err error) {
	sh.log, err = segment.Open(segment.Options{
		FS: s.files, Dir: filepath.Join(s.opts.Dir, fmt.Sprintf("partition-%04d", id)), Partition: id,
		ClusterID: s.identity.ClusterID, SegmentBytes: s.opts.SegmentBytes, Now: s.opts.Now,
		CutUncertain: s.opts.AcceptDataLoss,
		Logger:       s.opts.Logger, Registerer: labelled(id, reg),
		OnSeal: func(segment.Info) {
			if p := sh.ready.Load(); p != nil {
				p.IndexSealed()
			}
		},
	})
	return err
}

func (s *storage) openPartition(sh *shard, id uint32, reg *prometheus.Registry) (err error) {
	sh.part, err = partition.Open(partition.Options{
		ID: id, Log: sh.log, Index: s.index.Partition(id), Now: s.opts.Now,
		FlushDelay: s.opts.FlushDelay, Logger: s.opts.Logger, Registerer: labelled(id, reg),
	})
	if err != nil {
		return err
	}
	sh.ready.Store(sh.part)
	return nil
}

func (s *storage) openGroup(sh *shard, id uint32, reg *prometheus.Registry) (err error) {
	sh.group, err = replication.Open(replication.Options{
		Partition: id, ServerID: s.identity.NodeID, Dir: filepath.Join(s.opts.Dir, "raft"), FS: s.files,
		Log: sh.log, Machine: &machine{part: sh.part}, Logger: s.opts.Logger, Registerer: labelled(id, reg),
		OnStop: func(err error) { sh.part.Fail(proposalError(err)) },
	})
	if err != nil {
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

// health says why publishes would not be taken, or what else needs a restart.
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
	return s.index.Err()
}

// refuse answers all that waits in the partitions' queues, and all that comes.
func (s *storage) refuse() {
	for _, sh := range s.shards {
		if sh.part != nil {
			sh.part.Fail(partition.ErrClosed)
		}
	}
}

func (s *storage) close() error {
	var errs []error
	s.refuse() // all at once, so that nobody waits in a queue meanwhile
	for _, sh := range s.shards {
		// The group first: after it nothing is applied any more.
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
