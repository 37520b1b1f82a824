package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"

	"leat.dev/leat/segment"
	"leat.dev/leat/segment/record"
	"leat.dev/leat/segment/vfs"
)

// errNotAlike is returned when two folders can't be compared.
var errNotAlike = errors.New("can't be compared")

// comparison is how two replicas of a partition stand to each other. The chain
// over the entries makes it short: equal chains at an index mean that all
// entries up to there are equal.
type comparison struct {
	Partition uint32   `json:"partition"`
	Ours      entrySet `json:"ours"`
	Theirs    entrySet `json:"theirs"`
	Common    uint64   `json:"common"`    // entries that both have
	Differs   uint64   `json:"differs"`   // the first common entry that differs; 0: none
	Identical bool     `json:"identical"` // both have the same entries
	Verdicts  []string `json:"verdicts"`  // of ours and theirs by themselves
}

type entrySet struct {
	Path  string `json:"path"`
	First uint64 `json:"first"`
	Last  uint64 `json:"last"`
}

func (i *inspectCommand) runCompare(ctx context.Context, out io.Writer, path string) error {
	files := regularFiles{}
	ours, err := partitionFolders(files, path)
	if err != nil {
		return err
	}
	theirs, err := partitionFolders(files, i.compare)
	if err != nil {
		return err
	}
	if len(ours) != len(theirs) {
		return fmt.Errorf("%w: %s has %d partitions, %s has %d", errNotAlike, path, len(ours), i.compare, len(theirs))
	}
	worst := &survey{}
	for k := range ours {
		if len(ours) > 1 && filepath.Base(ours[k]) != filepath.Base(theirs[k]) {
			return fmt.Errorf("%w: %s and %s", errNotAlike, ours[k], theirs[k])
		}
		c, err := comparePartitions(ctx, files, ours[k], theirs[k], worst)
		if err != nil {
			return err
		}
		if c.Differs > 0 {
			worst.worst(segment.TailCorrupt)
		}
		if i.json {
			err = writeJSON(out, c)
		} else {
			err = printComparison(out, c)
		}
		if err != nil {
			return err
		}
	}
	return verdict(worst.state)
}

// chains are the chain values of a partition's entries, the first of which has
// the index base+1.
type chains struct {
	base   uint64
	values []uint64
	report *segment.Report
}

func readChains(ctx context.Context, files vfs.FS, path string) (*chains, error) {
	c := &chains{}
	// After a change of the log while it was read frames come again; the last
	// word on an index counts.
	report, err := segment.Verify(ctx, segment.Options{FS: files, Dir: path}, func(_ record.SegmentID, f segment.Frame) error {
		h := &f.Header
		switch {
		case h.Type == record.FrameSyncMarker:
		case len(c.values) == 0:
			c.base = h.Index - 1
			c.values = append(c.values, h.Chain)
		case h.Index > c.base && h.Index <= c.base+uint64(len(c.values))+1:
			c.values = append(c.values[:h.Index-c.base-1], h.Chain)
		}
		return nil
	})
	c.report = report
	return c, err
}

// comparePartitions compares two folders; their own states go into worst.
func comparePartitions(ctx context.Context, files vfs.FS, ours, theirs string, worst *survey) (*comparison, error) {
	a, err := readChains(ctx, files, ours)
	if err != nil {
		return nil, err
	}
	b, err := readChains(ctx, files, theirs)
	if err != nil {
		return nil, err
	}
	if a.report.Partition != b.report.Partition || a.report.ClusterID != b.report.ClusterID {
		return nil, fmt.Errorf("%w: %s is partition %d of cluster %q, %s is partition %d of cluster %q", errNotAlike,
			ours, a.report.Partition, a.report.ClusterID, theirs, b.report.Partition, b.report.ClusterID)
	}
	lastA, lastB := a.base+uint64(len(a.values)), b.base+uint64(len(b.values))
	c := &comparison{
		Partition: a.report.Partition,
		Ours:      entrySet{ours, a.base + 1, lastA}, Theirs: entrySet{theirs, b.base + 1, lastB},
		Verdicts: []string{a.report.State().String(), b.report.State().String()},
	}
	worst.worst(a.report.State())
	worst.worst(b.report.State())
	for index := max(a.base, b.base) + 1; index <= min(lastA, lastB); index++ {
		c.Common++
		if a.values[index-a.base-1] != b.values[index-b.base-1] && c.Differs == 0 {
			c.Differs = index
		}
	}
	c.Identical = c.Differs == 0 && a.base == b.base && lastA == lastB
	return c, nil
}

func printComparison(w io.Writer, c *comparison) error {
	_, err := fmt.Fprintf(w, "partition %d: %s has entries %d to %d (%s), %s has %d to %d (%s): ", c.Partition,
		c.Ours.Path, c.Ours.First, c.Ours.Last, c.Verdicts[0], c.Theirs.Path, c.Theirs.First, c.Theirs.Last, c.Verdicts[1])
	if err != nil {
		return err
	}
	switch {
	case c.Differs > 0:
		_, err = fmt.Fprintf(w, "they differ from entry %d on\n", c.Differs)
	case c.Identical:
		_, err = fmt.Fprintf(w, "identical\n")
	case c.Common == 0:
		_, err = fmt.Fprintf(w, "no entry in common\n")
	default:
		_, err = fmt.Fprintf(w, "%d in common are equal\n", c.Common)
	}
	return err
}
