package nats

import (
	"bytes"
	"crypto/subtle"
	"encoding/json"
	"strconv"

	"leat.dev/leat/wire/nats/subject"
)

// connectOptions is the JSON of CONNECT. What a client leaves out stays as it
// was, which at first is verbose and pedantic.
type connectOptions struct {
	Echo         bool   `json:"echo"`
	Verbose      bool   `json:"verbose"`
	Pedantic     bool   `json:"pedantic"`
	Token        string `json:"auth_token,omitempty"`
	Username     string `json:"user,omitempty"`
	Password     string `json:"pass,omitempty"`
	Name         string `json:"name"`
	Lang         string `json:"lang"`
	Version      string `json:"version"`
	Protocol     int    `json:"protocol"`
	Account      string `json:"account,omitempty"`
	AccountNew   bool   `json:"new_account,omitempty"`
	Headers      bool   `json:"headers,omitempty"`
	NoResponders bool   `json:"no_responders,omitempty"`
}

var (
	lineOK   = []byte("+OK\r\n")
	linePing = []byte("PING\r\n")
	linePong = []byte("PONG\r\n")
)

// answer puts a line of the protocol behind what already goes to this client.
func (c *conn) answer(line []byte) { c.courier.stage(c.self, line) }

func (c *conn) answerError(text string) { c.answer([]byte("-ERR '" + text + "'\r\n")) }

func (c *conn) answerOK() {
	if c.opts.Verbose {
		c.answer(lineOK)
	}
}

// control processes an operation other than PUB. An error ends the connection.
func (c *conn) control(o *op) *protocolError {
	switch o.kind {
	case opSub:
		c.subscribe(o)
	case opUnsub:
		c.unsub(o)
	case opPing:
		// A client that has its PONG may count on what it published before to
		// be with clients and handlers. So the run ends here, and another begins.
		c.courier.finish()
		if c.gaveUp {
			c.gaveUp = false
			c.awaitRuns()
		}
		c.courier.run.begin()
		c.answer(linePong)
		if !c.ponged && c.connected.Load() {
			c.ponged = true
			if c.opts.Protocol >= 1 {
				c.answer(c.info(true))
			}
		}
	case opPong:
		c.pingsOut.Store(0)
	case opConnect:
		return c.connect(o.arg)
	case opInfo:
		if json.Unmarshal(o.arg, new(info)) != nil {
			return errInfoJSON
		}
	case opErr:
		c.log.Warn("client error", "text", string(o.arg))
		return errClientError
	}
	return nil
}

func (c *conn) connect(arg []byte) *protocolError {
	if err := json.Unmarshal(arg, &c.opts); err != nil {
		return errConnectJSON
	}
	if c.connected.Load() {
		c.dropSubscriptions()
	}
	if !c.authorized() || c.opts.Account != "" || c.opts.AccountNew {
		c.log.Warn("authorization violation", "user", c.opts.Username)
		return errAuthorization
	}
	c.parser.connectFirst = false
	c.parser.headers = c.opts.Headers
	c.headers.Store(c.opts.Headers)
	c.echo = c.opts.Echo
	about := c.opts
	about.Password, about.Token = "", ""
	c.about.Store(&about)
	c.connected.Store(true)
	if c.opts.Protocol < 0 || c.opts.Protocol > 1 {
		return errClientProtocol
	}
	if c.opts.NoResponders && !c.opts.Headers {
		return errNoRespHeaders
	}
	c.answerOK()
	return nil
}

func (c *conn) authorized() bool {
	want := &c.server.opts
	switch {
	case want.Token != "":
		return equalSecret(c.opts.Token, want.Token)
	case want.Username != "":
		return equalSecret(c.opts.Username, want.Username) && equalSecret(c.opts.Password, want.Password)
	}
	return true
}

func equalSecret(got, want string) bool {
	return subtle.ConstantTimeCompare([]byte(got), []byte(want)) == 1
}

func (c *conn) subscribe(o *op) {
	s := &subscription{subject: string(o.subject), queue: string(o.queue), sid: string(o.sid), conn: c}
	c.mu.Lock()
	if c.subs == nil {
		c.mu.Unlock()
		return
	}
	if len(c.subs) >= c.server.opts.SubscriptionsMax {
		c.mu.Unlock()
		c.answerError(textSubscriptions)
		return
	}
	var err error
	if c.subs[s.sid] == nil { // an id in use keeps its subscription
		if err = c.server.tree.Insert(s.subject, s.queue, s); err == nil {
			c.subs[s.sid] = s
			c.subCount.Store(int64(len(c.subs)))
		}
	}
	c.mu.Unlock()
	if err != nil {
		c.answerError(textInvalidSubject)
		return
	}
	c.answerOK()
}

func (c *conn) unsub(o *op) {
	c.mu.Lock()
	s := c.subs[string(o.sid)]
	c.mu.Unlock()
	if s != nil {
		if o.max > 0 && int64(o.max) > s.delivered.Load() {
			s.max.Store(int64(o.max))
		}
		// Also if the last of them has been delivered just now.
		if o.max <= 0 || s.delivered.Load() >= int64(o.max) {
			c.unsubscribe(s)
			c.gaveUp = true
		}
	}
	c.answerOK()
}

// unsubscribe removes a subscription of this connection. Anyone may call it.
func (c *conn) unsubscribe(s *subscription) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.subs[s.sid] == s {
		delete(c.subs, s.sid)
		c.subCount.Store(int64(len(c.subs)))
		c.server.tree.Remove(s.subject, s.queue, s)
	}
}

// dropSubscriptions removes them all: a second CONNECT starts anew.
func (c *conn) dropSubscriptions() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for sid, s := range c.subs {
		delete(c.subs, sid)
		c.server.tree.Remove(s.subject, s.queue, s)
	}
	c.subCount.Store(0)
}

func (c *conn) publish(o *op) {
	if c.opts.Pedantic && !subject.ValidLiteral(o.subject) {
		c.answerError(textInvalidPublishSubject) // and goes on, as nats-server
	}
	r := c.courier.find(o.subject)
	if r.reserved {
		c.answerError("Permissions Violation for Publish to " + strconv.Quote(string(o.subject)))
		return
	}
	if len(o.reply) > 0 && isReservedReply(o.reply) {
		c.answerError("Permissions Violation for Publish with Reply of " + strconv.Quote(string(o.reply)))
		return
	}
	c.answerOK()
	p := packet{subject: o.subject, reply: o.reply, header: o.header, data: o.data, tail: o.tail}
	if c.courier.deliver(r, &p) == 0 && len(o.reply) > 0 && c.opts.NoResponders {
		c.answerNoResponders(o)
	}
}

// answerNoResponders tells a client whose request nobody received, if it has a
// plain subscription for the reply.
func (c *conn) answerNoResponders(o *op) {
	for _, d := range c.courier.find(o.reply).plain {
		if d.sub.conn != c {
			continue
		}
		const status = "NATS/1.0 503\r\nNats-Subject: "
		size := strconv.Itoa(len(status) + len(o.subject) + 4)
		line := make([]byte, 0, len(d.head)+2*len(size)+len(status)+len(o.subject)+16)
		line = append(append(append(line, d.head...), size...), ' ')
		line = append(append(append(line, size...), "\r\n"+status...), o.subject...)
		c.answer(append(line, "\r\n\r\n\r\n"...))
		return
	}
}

// isReserved tells whether clients must not publish on a subject. nats-server
// refuses these, which are used between servers, and so do we: a publisher
// should not notice the difference, and routes will need them.
func isReserved(s []byte) bool {
	if len(s) < 4 || s[0] != '_' && s[0] != '$' {
		return false
	}
	return bytes.HasPrefix(s, []byte("_GR_.")) || bytes.HasPrefix(s, []byte("$GR.")) || bytes.HasPrefix(s, []byte("$NRG."))
}

func isReservedReply(s []byte) bool {
	if len(s) < 4 || s[0] != '_' && s[0] != '$' {
		return false
	}
	return bytes.HasPrefix(s, []byte("_R_.")) || bytes.HasPrefix(s, []byte("$JS.ACK.")) ||
		bytes.HasPrefix(s, []byte("_GR_.")) || bytes.HasPrefix(s, []byte("$GR."))
}
