package nats

import (
	"errors"
	"net"
	"os"
	"time"
)

// vectorMax is how many buffers go into one write: enough to make the system
// call cheap, and few enough for progress to be seen.
const vectorMax = 16

// writeLoop writes what the outbox holds until it is closed and empty.
func (c *conn) writeLoop() {
	defer close(c.wrote)
	var (
		queue   [][]byte
		vector  net.Buffers
		refresh time.Time // when the write deadline must be set anew
	)
	for {
		var ok bool
		if queue, ok = c.out.take(queue[:0]); !ok {
			break
		}
		rest := queue
		for len(rest) > 0 {
			// Setting a deadline costs, so it is done when a quarter of it is over.
			if now := time.Now(); now.After(refresh) && !c.down.Load() {
				c.raw.SetWriteDeadline(now.Add(c.server.opts.WriteDeadline))
				refresh = now.Add(c.server.opts.WriteDeadline / 4)
				if c.down.Load() { // shut may have set its own just before
					<-c.downed
					c.limitLastWrite()
				}
			}
			n := min(len(rest), vectorMax)
			err := c.write(rest[:n], &vector)
			size := 0
			for i, b := range rest[:n] {
				size += len(b)
				c.out.pool.put(b)
				rest[i] = nil
			}
			rest = rest[n:]
			c.out.written(size)
			if err != nil {
				c.writeFailed(err, rest)
				return
			}
		}
	}
	// Tell the client that nothing more comes; run closes the connection.
	if half, ok := c.nc.(interface{ CloseWrite() error }); ok {
		_ = half.CloseWrite() // the client may be gone already
	} else if c.reason.text == "" {
		c.nc.Close()
	}
}

// write writes the buffers with one system call where that is possible.
func (c *conn) write(bufs [][]byte, vector *net.Buffers) error {
	if len(bufs) == 1 {
		_, err := c.nc.Write(bufs[0])
		return err
	}
	whole := append((*vector)[:0], bufs...)
	*vector = whole
	_, err := vector.WriteTo(c.nc) // consumes *vector
	*vector = whole[:0]
	return err
}

// writeFailed ends the connection after a failed write.
func (c *conn) writeFailed(err error, rest [][]byte) {
	reason := errWrite
	if errors.Is(err, os.ErrDeadlineExceeded) && !c.down.Load() {
		reason = errSlowDeadline
	}
	c.shut(reason)
	c.out.close(true) // also if someone else has shut it and wanted a flush
	dropped := 0
	for _, b := range rest {
		dropped += len(b)
		c.out.pool.put(b)
	}
	c.out.written(dropped)
	c.raw.SetReadDeadline(time.Now())
}
