package segment

import (
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"leat.dev/leat/segment/record"
	"leat.dev/leat/segment/vfs"
)

// Limits of Options.SegmentBytes. Positions are 32 bits wide, and a segment
// should not be so large that sealing it takes long.
const (
	SegmentBytesMin     = 64 << 10
	SegmentBytesMax     = 1 << 30
	SegmentBytesDefault = 128 << 20
)

// ClusterIDBytesMax bounds Options.ClusterID.
const ClusterIDBytesMax = 64

// Options configures a Log. Dir is needed, the rest has defaults.
type Options struct {
	// FS holds the files. Default: the operating system's.
	FS vfs.FS
	// Dir is the partition's folder. It is made when missing.
	Dir string
	// Partition and ClusterID are written into every file and compared at open.
	Partition uint32
	ClusterID string // at most ClusterIDBytesMax bytes

	// SegmentBytes is the size of a segment file, a multiple of 4 KiB from
	// 64 KiB to 1 GiB; default 128 MiB. It applies to segments made from now on.
	// Smaller segments are dropped sooner and cost more files.
	SegmentBytes int64
	// MarkerDelay is how long the log must be idle before a sync marker is
	// written; default 100 ms, negative never. It bounds the time after an
	// append in which damage to it can't be told from a torn write.
	MarkerDelay time.Duration
	// FillBytesMax is how far ahead of the appends zeros are written while appends
	// are small, which halves the time of their syncs; default 4 MiB, negative
	// never. It is less when little is appended. Turn it off where what the disk
	// can take in its life counts more: what is appended is written twice.
	FillBytesMax int64
	// MappedIdleMax is how many sealed segments stay mapped while nobody reads
	// them, and for a moment twice as many; default 64.
	MappedIdleMax int
	// CutUncertain allows Open to cut a tail that may hold acknowledged entries.
	// It loses data if they were; set it when the operator says so.
	CutUncertain bool

	// OnSeal is called from the log's goroutine after a segment was sealed. It
	// may acquire the segment. It must not call methods that change the log.
	OnSeal func(Info)
	// Now is the clock, ns since 1970. Default: time.Now.
	Now func() int64
	// Logger takes what an operator should know. Default: none.
	Logger *slog.Logger
	// Registerer takes the metrics. Default: none.
	Registerer prometheus.Registerer
}

// EnsureDefaults fills in what is not set.
func (o *Options) EnsureDefaults() {
	if o.FS == nil {
		o.FS = vfs.OS{}
	}
	if o.SegmentBytes == 0 {
		o.SegmentBytes = SegmentBytesDefault
	}
	if o.MarkerDelay == 0 {
		o.MarkerDelay = 100 * time.Millisecond
	}
	if o.FillBytesMax == 0 {
		o.FillBytesMax = fillChunks * fillChunkMax
	}
	if o.MappedIdleMax == 0 {
		o.MappedIdleMax = 64
	}
	if o.Now == nil {
		o.Now = func() int64 { return time.Now().UnixNano() }
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
}

// Validate says what is wrong with the options.
func (o *Options) Validate() error {
	switch {
	case o.Dir == "":
		return errors.New("segment: options: Dir is not set")
	case len(o.ClusterID) > ClusterIDBytesMax:
		return fmt.Errorf("segment: options: cluster id of %d bytes, at most %d", len(o.ClusterID), ClusterIDBytesMax)
	case o.SegmentBytes < SegmentBytesMin || o.SegmentBytes > SegmentBytesMax || o.SegmentBytes%headerBlockBytes != 0:
		return fmt.Errorf("segment: options: SegmentBytes is %d, want a multiple of %d from %d to %d",
			o.SegmentBytes, headerBlockBytes, SegmentBytesMin, SegmentBytesMax)
	case o.MappedIdleMax < 0:
		return fmt.Errorf("segment: options: MappedIdleMax is %d, want 0 or more", o.MappedIdleMax)
	}
	return nil
}

// payloadBytesMax is the largest payload that a segment of the given size holds,
// whatever it is made of.
func payloadBytesMax(segmentBytes int64) int {
	// A batch with a name of n bytes takes 72+n bytes or more, and at most 104+n
	// in the footer. So what is in a segment needs less than 1.5 times its size
	// there, and two fifths of a segment always fit.
	return int(min(record.PayloadBytesMax, (segmentBytes-headerBlockBytes)*2/5-1024))
}
