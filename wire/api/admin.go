package api

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"leat.dev/leat/partition"
	"leat.dev/leat/segment/record"
)

// ChannelConfig is a channel's settings as they are asked for and answered.
type ChannelConfig struct {
	Subjects    []string `json:"subjects,omitempty"`
	Compression string   `json:"compression,omitempty"` // none, s2, zstd
}

// ChannelInfo is a channel as it is answered.
type ChannelInfo struct {
	Channel  string        `json:"channel"`
	First    uint64        `json:"first"` // last+1 when there is no record
	Last     uint64        `json:"last"`
	Records  uint64        `json:"records"`
	Bytes    uint64        `json:"bytes"`
	LastTime *time.Time    `json:"last_time,omitempty"`
	Created  time.Time     `json:"created"`
	Config   ChannelConfig `json:"config"`
	// Cursors is a page of the durable consumers, and CursorCount their number;
	// both only where one channel is asked for.
	Cursors     []CursorInfo `json:"cursors,omitempty"`
	CursorCount int          `json:"cursor_count,omitempty"`
	// Durability is what an acknowledgement means for this channel.
	Durability string `json:"durability"`
}

// ListRequest asks for a page of the channels, or of a channel's cursors, sorted
// by name.
type ListRequest struct {
	Prefix string `json:"prefix,omitempty"`
	Offset int    `json:"offset,omitempty"`
	Limit  int    `json:"limit,omitempty"` // 1,000 by default and at most
}

// ListAnswer is that page.
type ListAnswer struct {
	Channels []ChannelInfo `json:"channels"`
	Total    int           `json:"total"`
	Offset   int           `json:"offset"`
	Limit    int           `json:"limit"`
}

// PurgeRequest says which records go: those below First, or all of them when it
// is nil. It is a pointer because a First of 0, which is a slip or a computed
// one, is not meant to remove everything.
type PurgeRequest struct {
	First *uint64 `json:"first,omitempty"`
}

// Done answers what has nothing else to say.
type Done struct {
	OK bool `json:"ok"`
}

const listLimitMax = 1000

// serveAdmin answers $LEAT.API.….
func (f *Frontend) serveAdmin(ctx context.Context, r *request) (any, error) {
	call := strings.TrimPrefix(r.subject, Prefix+"API.")
	switch call {
	case "INFO":
		return f.opts.Node, nil
	case "CHANNEL.LIST":
		return f.list(r)
	}
	kind, rest, _ := strings.Cut(call, ".")
	verb, name, named := strings.Cut(rest, ".")
	if !named || (kind != "CHANNEL" && kind != "CURSOR") {
		return nil, fmt.Errorf("%w: %s", errNoSuchCall, r.subject)
	}
	if kind == "CHANNEL" && verb == "CREATE" {
		return f.create(ctx, r, name)
	}
	c, ok := f.store.Channel(name)
	if !ok {
		return nil, noChannel(name)
	}
	if kind == "CURSOR" {
		return f.serveCursor(ctx, r, verb, c)
	}
	return f.serveChannel(ctx, r, verb, c)
}

// serveChannel answers $LEAT.API.CHANNEL.….
func (f *Frontend) serveChannel(ctx context.Context, r *request, verb string, c *partition.Channel) (any, error) {
	switch verb {
	case "SHOW":
		info := f.show(c)
		page := f.cursorPage(c, ListRequest{Limit: listLimitMax})
		info.Cursors, info.CursorCount = page.Cursors, page.Total
		return info, nil
	case "SET":
		return f.set(ctx, r, c)
	case "PURGE":
		var q PurgeRequest
		if err := r.decode(&q); err != nil {
			return nil, err
		}
		if q.First == nil {
			return done(c.Purge(ctx))
		}
		return done(c.Trim(ctx, record.Offset(*q.First)))
	case "DELETE":
		return done(c.Delete(ctx))
	}
	return nil, fmt.Errorf("%w: %s", errNoSuchCall, r.subject)
}

func noChannel(name string) error {
	if err := partition.ValidateName(name); err != nil {
		return err
	}
	return fmt.Errorf("%w: %q: the first publish makes it, or %sAPI.CHANNEL.CREATE.%s", partition.ErrNoChannel, name, Prefix, name)
}

func done(err error) (any, error) { return Done{OK: err == nil}, err }

// decodeList reads the request for a page.
func (r *request) decodeList() (ListRequest, error) {
	q := ListRequest{Limit: listLimitMax}
	if err := r.decode(&q); err != nil {
		return q, err
	}
	if q.Offset < 0 || q.Limit < 1 || q.Limit > listLimitMax {
		return q, fmt.Errorf("%w: offset %d and limit %d, want at least 0 and 1 to %d", errBadRequest,
			q.Offset, q.Limit, listLimitMax)
	}
	return q, nil
}

func (f *Frontend) list(r *request) (any, error) {
	q, err := r.decodeList()
	if err != nil {
		return nil, err
	}
	a := ListAnswer{Channels: []ChannelInfo{}, Offset: q.Offset, Limit: q.Limit}
	for _, c := range f.store.Channels() {
		if !strings.HasPrefix(c.Name(), q.Prefix) {
			continue
		}
		if a.Total >= q.Offset && len(a.Channels) < q.Limit {
			a.Channels = append(a.Channels, f.show(c))
		}
		a.Total++
	}
	return a, nil
}

func (f *Frontend) show(c *partition.Channel) ChannelInfo {
	i := c.Info()
	info := ChannelInfo{
		Channel: i.Name, First: uint64(i.First), Last: uint64(i.Last), Records: i.Records, Bytes: i.Bytes,
		Created:    time.Unix(0, i.Created).UTC(),
		Config:     ChannelConfig{Subjects: i.Config.Subjects, Compression: i.Config.Compression},
		Durability: "synced on a majority before the acknowledgement",
	}
	if i.LastTime != 0 {
		t := time.Unix(0, i.LastTime).UTC()
		info.LastTime = &t
	}
	return info
}

func (f *Frontend) create(ctx context.Context, r *request, name string) (any, error) {
	var q ChannelConfig
	if err := r.decode(&q); err != nil {
		return nil, err
	}
	// Checking and creating are one step, or two requests could bind the same
	// subject to two channels.
	release, err := f.lockBindings(ctx)
	if err != nil {
		return nil, err
	}
	defer release()
	if err := f.checkSubjects(name, q.Subjects); err != nil {
		return nil, err
	}
	// Not with ctx: a change that is not waited for may still come, and must
	// not come between another's check and change.
	c, err := f.store.Create(f.ctx, name, partition.Config{Subjects: q.Subjects, Compression: q.Compression})
	if errors.Is(err, partition.ErrChannelExists) {
		return nil, fmt.Errorf("%w with other settings: %sAPI.CHANNEL.SET.%s changes them", err, Prefix, name)
	}
	if err != nil {
		return nil, err
	}
	return f.show(c), nil
}

// set changes what the request names and leaves the rest.
func (f *Frontend) set(ctx context.Context, r *request, c *partition.Channel) (any, error) {
	release, err := f.lockBindings(ctx)
	if err != nil {
		return nil, err
	}
	defer release()
	cfg := c.Config()
	q := struct {
		Subjects    *[]string `json:"subjects"`
		Compression *string   `json:"compression"`
	}{}
	if err := r.decode(&q); err != nil {
		return nil, err
	}
	if q.Subjects != nil {
		cfg.Subjects = *q.Subjects
		if err := f.checkSubjects(c.Name(), cfg.Subjects); err != nil {
			return nil, err
		}
	}
	if q.Compression != nil {
		cfg.Compression = *q.Compression
	}
	if err := c.Set(f.ctx, cfg); err != nil {
		return nil, err
	}
	return f.show(c), nil
}

// lockBindings waits until no other request changes bindings.
func (f *Frontend) lockBindings(ctx context.Context) (release func(), err error) {
	select {
	case f.admin <- struct{}{}:
		return func() { <-f.admin }, nil
	case <-ctx.Done():
		return nil, fmt.Errorf("wait for another change of a channel: %w", ctx.Err())
	}
}

// checkSubjects says why a channel can't be bound to the given patterns.
func (f *Frontend) checkSubjects(name string, patterns []string) error {
	for i, p := range patterns {
		if err := checkPattern(p); err != nil {
			return err
		}
		for _, o := range patterns[:i] {
			if overlap(p, o) {
				return fmt.Errorf("%w: %q and %q of channel %q itself", partition.ErrSubjectTaken, p, o, name)
			}
		}
	}
	if len(patterns) == 0 {
		return nil
	}
	for _, c := range f.store.Channels() {
		if c.Name() == name {
			continue
		}
		for _, o := range c.Config().Subjects {
			for _, p := range patterns {
				if overlap(p, o) {
					return fmt.Errorf("%w: %q and %q of channel %q", partition.ErrSubjectTaken, p, o, c.Name())
				}
			}
		}
	}
	return nil
}
