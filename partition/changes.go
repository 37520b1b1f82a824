package partition

import (
	"context"

	"leat.dev/leat/segment/record"
)

// All that follows returns when the change is durable, or with an error. When
// ctx ends before, the error wraps ErrUnknownOutcome.

// Create makes a channel with the given settings. A channel that exists with
// equal settings is as good as created; with others it is ErrChannelExists.
func (p *Partition) Create(ctx context.Context, name string, cfg Config) (*Channel, error) {
	s, err := cfg.check()
	if err != nil {
		return nil, channelError(name, err)
	}
	c, err := p.Ensure(name)
	if err != nil {
		return nil, err
	}
	// Whether it exists is decided in log order: a publish or another Create may
	// be on its way.
	err = p.await(ctx, c, &operation{code: opCreateChannel, settings: s})
	if err != nil {
		return nil, channelError(name, err)
	}
	return c, nil
}

// check validates the settings and copies them.
func (c *Config) check() (*settings, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	return c.settle()
}

// Set changes a channel's settings.
func (c *Channel) Set(ctx context.Context, cfg Config) error {
	s, err := cfg.check()
	if err != nil {
		return channelError(c.name, err)
	}
	return c.change(ctx, &operation{code: opSetChannel, settings: s})
}

// Trim removes all records below first, of those that are there when the change
// is logged. Their offsets are not given anew.
func (c *Channel) Trim(ctx context.Context, first record.Offset) error {
	return c.change(ctx, &operation{code: opTrimChannel, number: uint64(first)})
}

// Purge removes all records that are there when the change is logged.
func (c *Channel) Purge(ctx context.Context) error {
	return c.Trim(ctx, ^record.Offset(0))
}

// Delete removes the channel with its records and cursors. What is given to the
// channel after that is not stored.
func (c *Channel) Delete(ctx context.Context) error {
	return c.change(ctx, &operation{code: opDeleteChannel})
}

func (c *Channel) change(ctx context.Context, o *operation) error {
	return channelError(c.name, c.part.await(ctx, c, o))
}
