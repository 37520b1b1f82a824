package nats

import "time"

// startTimers starts the timers of a connection.
func (c *conn) startTimers() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.subs == nil {
		return // down already
	}
	c.pingTimer = time.AfterFunc(c.server.opts.PingInterval, c.ping)
	if c.server.opts.authRequired() {
		c.authTimer = time.AfterFunc(c.server.opts.AuthTimeout, c.authExpired)
	}
}

// ping is the ping timer: a connection that was silent is asked whether it is
// still there.
func (c *conn) ping() {
	if reads := c.reads.Load(); reads != c.pingReads {
		c.pingReads = reads
	} else if c.pingsOut.Add(1) > int64(c.server.opts.PingsOutMax) {
		c.giveUp(errStale)
		return
	} else {
		c.out.pushPieces(0, 0, true, linePing)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.subs != nil {
		c.pingTimer.Reset(c.server.opts.PingInterval)
	}
}

func (c *conn) authExpired() {
	if !c.connected.Load() {
		c.giveUp(errAuthTimeout)
	}
}

// giveUp ends the connection with a word about it, from outside of run.
func (c *conn) giveUp(reason *protocolError) {
	c.out.pushPieces(0, 0, true, []byte("-ERR '"+reason.text+"'\r\n"))
	c.shut(reason)
}
