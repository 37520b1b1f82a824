package api

import (
	"context"
	"fmt"
	"strings"

	"leat.dev/leat/partition"
	"leat.dev/leat/partition/cursor"
)

// Cursors of durable replays are stored under their name behind cursorPrefix,
// apart from those of other front-ends.
const cursorPrefix = "api/"

// durableBytesMax bounds a durable's name.
const durableBytesMax = 200

// CursorInfo is a durable consumer as it is answered.
type CursorInfo struct {
	// Name is the durable's name. One with a slash belongs to another
	// front-end, which names it.
	Name    string `json:"name"`
	Floor   uint64 `json:"floor"`   // everything up to it is acknowledged
	Sent    uint64 `json:"sent"`    // the highest offset delivered
	Pending uint64 `json:"pending"` // delivered and not acknowledged
	// Active tells that a replay of that name is under way on this node.
	Active bool `json:"active,omitempty"`
}

// CursorRequest names a cursor of a channel.
type CursorRequest struct {
	Name string `json:"name"`
	// From is where a cursor that is reset goes on; "first" by default.
	From From `json:"from,omitzero"`
}

// CursorList answers $LEAT.API.CURSOR.LIST.<channel>: a page of the cursors.
type CursorList struct {
	Channel string       `json:"channel"`
	Cursors []CursorInfo `json:"cursors"`
	Total   int          `json:"total"`
	Offset  int          `json:"offset"`
	Limit   int          `json:"limit"`
}

// checkDurable says why a name can't be a durable's.
func checkDurable(name string) error {
	if name == "" || len(name) > durableBytesMax {
		return fmt.Errorf("%w: durable name of %d bytes, want 1 to %d", errBadRequest, len(name), durableBytesMax)
	}
	for _, c := range name {
		if c <= ' ' || c == 0x7f || c == '/' || c == '*' || c == '>' {
			return fmt.Errorf("%w: durable name %q: character %q is not allowed", errBadRequest, name, c)
		}
	}
	return nil
}

func cursorName(durable string) string { return cursorPrefix + durable }

// serveCursor answers $LEAT.API.CURSOR.….
func (f *Frontend) serveCursor(ctx context.Context, r *request, verb string, c *partition.Channel) (any, error) {
	switch verb {
	case "LIST":
		q, err := r.decodeList()
		if err != nil {
			return nil, err
		}
		return f.cursorPage(c, q), nil
	case "SHOW", "RESET", "DELETE":
	default:
		return nil, fmt.Errorf("%w: %s", errNoSuchCall, r.subject)
	}
	var q CursorRequest
	if err := r.decode(&q); err != nil {
		return nil, err
	}
	if err := checkDurable(q.Name); err != nil {
		return nil, err
	}
	info, ok := c.Cursor(cursorName(q.Name))
	if !ok {
		return nil, fmt.Errorf("%w: %q of channel %q: %sAPI.CURSOR.LIST.%s has those that there are",
			partition.ErrNoCursor, q.Name, c.Name(), Prefix, c.Name())
	}
	switch verb {
	case "RESET":
		return f.resetCursor(ctx, c, &q)
	case "DELETE":
		return done(f.changeCursor(ctx, c, q.Name, endDeleted, func() error { return f.deleteCursor(ctx, c, cursorName(q.Name)) }))
	}
	return f.cursorInfo(c, info), nil
}

func (f *Frontend) resetCursor(ctx context.Context, c *partition.Channel, q *CursorRequest) (any, error) {
	from, err := q.From.resolve(f.opts.Now(), c)
	if err != nil {
		return nil, err
	}
	if from > cursor.OffsetMax {
		return nil, fmt.Errorf("%w: from %d, at most %d", errBadRequest, from, cursor.OffsetMax)
	}
	name := cursorName(q.Name)
	err = f.changeCursor(ctx, c, q.Name, endReset, func() error { return f.putCursor(ctx, c, name, cursor.New(from)) })
	if err != nil {
		return nil, err
	}
	info, _ := c.Cursor(name)
	return f.cursorInfo(c, info), nil
}

// changeCursor ends the replay that moves the cursor and changes the cursor
// before another one can begin.
func (f *Frontend) changeCursor(ctx context.Context, c *partition.Channel, durable string, e ending, change func() error) error {
	w := &windowed{f: f, plan: &plan{ReplayRequest: ReplayRequest{Durable: durable}, channel: c}, ended: make(chan struct{})}
	w.ctx, w.cancel = context.WithCancel(f.ctx)
	defer w.cancel()
	if err := f.replays.claim(ctx, w, e); err != nil {
		return err
	}
	defer func() {
		f.replays.remove(w)
		close(w.ended)
	}()
	return change()
}

func (f *Frontend) putCursor(ctx context.Context, c *partition.Channel, name string, place *cursor.Cursor) error {
	return await(ctx, func(done func(error)) { c.PutCursor(name, nil, place, done) })
}

func (f *Frontend) deleteCursor(ctx context.Context, c *partition.Channel, name string) error {
	return await(ctx, func(done func(error)) { c.DeleteCursor(name, done) })
}

// await calls f with a callback and waits for that to be called.
func await(ctx context.Context, f func(done func(error))) error {
	done := make(chan error, 1)
	f(func(err error) { done <- err })
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (f *Frontend) cursorPage(c *partition.Channel, q ListRequest) CursorList {
	a := CursorList{Channel: c.Name(), Cursors: []CursorInfo{}, Offset: q.Offset, Limit: q.Limit}
	for _, k := range c.Cursors() {
		if !strings.HasPrefix(strings.TrimPrefix(k.Name, cursorPrefix), q.Prefix) {
			continue
		}
		if a.Total >= q.Offset && len(a.Cursors) < q.Limit {
			a.Cursors = append(a.Cursors, f.cursorInfo(c, k))
		}
		a.Total++
	}
	return a
}

func (f *Frontend) cursorInfo(c *partition.Channel, k partition.CursorInfo) CursorInfo {
	name, ours := strings.CutPrefix(k.Name, cursorPrefix)
	info := CursorInfo{Name: name}
	if k.Place != nil {
		info.Floor, info.Sent, info.Pending = uint64(k.Place.Floor()), uint64(k.Place.LastSent()), k.Place.PendingCount()
	}
	if ours {
		f.replays.mu.Lock()
		defer f.replays.mu.Unlock()
		info.Active = f.replays.durables[durableKey{c, name}] != nil
	}
	return info
}
