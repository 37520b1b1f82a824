package main

import (
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"leat.dev/leat/segment"
	"leat.dev/leat/segment/record"
)

// printSurvey writes the whole survey for people.
func printSurvey(w io.Writer, s *survey, channel string) error {
	if n := s.Node; n != nil {
		fmt.Fprintf(w, "node %s of cluster %s, %d partitions, format %d\n", readable(n.NodeID), readable(n.ClusterID), n.Partitions, n.Format)
	}
	for i := range s.Partitions {
		if err := printPartition(w, &s.Partitions[i], channel); err != nil {
			return err
		}
	}
	return printVerdict(w, s)
}

func printPartition(w io.Writer, p *partitionDoc, channel string) error {
	fmt.Fprintf(w, "\npartition %d of cluster %s: %s\n", p.Partition, readable(p.ClusterID), p.Path)
	if p.Last.Index > p.Base.Index {
		fmt.Fprintf(w, "  entries %d to %d, last term %d, chain %s\n", p.Base.Index+1, p.Last.Index, p.Last.Term, p.Last.Chain)
	} else {
		fmt.Fprintf(w, "  no entries behind %d\n", p.Base.Index)
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(t, "segment\tstate\tfirst\tlast\trecords\tbytes\ttail\tcommitted\tsynced to\thash\t\n")
	for _, s := range p.Segments {
		state := s.State
		if s.Bound != "" {
			state += ", cut: " + s.Bound
		}
		if s.Growing {
			state += ", growing"
		}
		hash := s.Hash
		if hash == "" {
			hash = "-"
		}
		fmt.Fprintf(t, "%d\t%s\t%d\t%d\t%d\t%s\t%s\t%d\t%d\t%s\t\n", s.Segment, state, s.First, s.Last, s.Records,
			bytesText(float64(s.Bytes)), s.Tail, s.CommitHint, s.SyncedThrough, hash)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	printTerms(w, p)
	return printChannels(w, p, channel)
}

// printTerms says with which entries terms began.
func printTerms(w io.Writer, p *partitionDoc) {
	last := uint64(0)
	for _, s := range p.Segments {
		for _, t := range s.Terms {
			if t.Term != last {
				fmt.Fprintf(w, "  term %d from entry %d\n", t.Term, t.Index)
				last = t.Term
			}
		}
	}
}

func printChannels(w io.Writer, p *partitionDoc, channel string) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	head := false
	for _, c := range p.Channels {
		if channel != "" && c.Channel != channel {
			continue
		}
		if !head {
			fmt.Fprintf(t, "channel\tid\tfirst\tlast\trecords\tbatches\tbytes\t\n")
			head = true
		}
		fmt.Fprintf(t, "%s\t%d\t%d\t%d\t%d\t%d\t%s\t\n", readable(c.Channel), c.ID, c.First, c.Last, c.Records, c.Batches, bytesText(float64(c.Bytes)))
	}
	return t.Flush()
}

// printVerdict writes what is wrong, and how much was checked.
func printVerdict(w io.Writer, s *survey) error {
	for _, f := range s.Findings {
		fmt.Fprintf(w, "%s: %s at %d", f.State, f.File, f.Position)
		if f.Index > 0 {
			fmt.Fprintf(w, ", entry %d", f.Index)
		}
		fmt.Fprintf(w, ": %s\n", f.Error)
	}
	_, err := fmt.Fprintf(w, "%s: %s frames, %s records, %s checked in %.3f s\n", s.Verdict, grouped(uint64(s.Frames)),
		grouped(s.Records), bytesText(float64(s.Bytes)), s.Seconds)
	return err
}

// frameDoc is a frame as it is listed.
type frameDoc struct {
	Partition     uint32     `json:"partition"`
	Segment       uint64     `json:"segment"`
	Position      int64      `json:"position"`
	Type          string     `json:"type"`
	Index         uint64     `json:"index"`
	Term          uint64     `json:"term"`
	Time          string     `json:"time,omitempty"`
	FrameBytes    uint32     `json:"frame_bytes"`
	PayloadBytes  uint32     `json:"payload_bytes"`
	PayloadCRC    string     `json:"payload_crc"`
	Chain         string     `json:"chain"`
	SyncedThrough uint64     `json:"synced_through"`
	CommitHint    uint64     `json:"commit_hint"`
	Batches       []batchDoc `json:"batches,omitempty"`
}

type batchDoc struct {
	Kind    string `json:"kind"`
	Channel string `json:"channel,omitempty"`
	ID      uint64 `json:"id,omitempty"`
	First   uint64 `json:"first,omitempty"`
	Last    uint64 `json:"last,omitempty"`
	Count   uint32 `json:"count"`
	Codec   string `json:"codec"`
	Bytes   int    `json:"bytes"`
	Raw     uint32 `json:"raw_bytes"`
}

func describeFrame(partition uint32, id record.SegmentID, f *segment.Frame) frameDoc {
	h := &f.Header
	d := frameDoc{
		Partition: partition, Segment: uint64(id), Position: f.Position, Type: h.Type.String(), Index: h.Index, Term: h.Term,
		FrameBytes: h.FrameBytes, PayloadBytes: h.PayloadBytes, PayloadCRC: fmt.Sprintf("%08x", h.PayloadCRC),
		Chain: fmt.Sprintf("%016x", h.Chain), SyncedThrough: h.SyncedThrough, CommitHint: h.CommitHint,
	}
	if h.Time != 0 {
		d.Time = time.Unix(0, h.Time).UTC().Format(time.RFC3339Nano)
	}
	if h.Type != record.FrameData {
		return d
	}
	var b record.Batch
	// The visit returns nil, so there is no error.
	_ = eachBatch(f.Payload, &b, func(b *record.Batch) error {
		bd := batchDoc{Kind: "data", Count: b.Count, Codec: b.Codec.String(), Bytes: len(b.Raw()), Raw: b.RawBytes}
		if b.Kind == record.KindCommand {
			bd.Kind = "command"
		} else {
			bd.Channel, bd.ID, bd.First, bd.Last = string(b.Name), uint64(b.Channel), uint64(b.Base), uint64(b.Last())
		}
		d.Batches = append(d.Batches, bd)
		return nil
	})
	return d
}

func printFrame(w io.Writer, d *frameDoc) error {
	_, err := fmt.Fprintf(w, "partition %d segment %d at %d: %s entry %d term %d, %d bytes, crc %s, chain %s, synced to %d, committed %d %s\n",
		d.Partition, d.Segment, d.Position, d.Type, d.Index, d.Term, d.FrameBytes, d.PayloadCRC, d.Chain, d.SyncedThrough, d.CommitHint, d.Time)
	for _, b := range d.Batches {
		if err != nil {
			return err
		}
		if b.Kind == "command" {
			_, err = fmt.Fprintf(w, "  command of %d operations, %d bytes\n", b.Count, b.Bytes)
			continue
		}
		_, err = fmt.Fprintf(w, "  channel %s (id %d) offsets %d to %d, %s, %d bytes, %d inflated\n", readable(b.Channel), b.ID, b.First, b.Last, b.Codec, b.Bytes, b.Raw)
	}
	return err
}
