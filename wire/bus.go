package wire

import "context"

// Msg is one message on its way through the router. All slices belong to the
// caller and are valid only until the call that they were passed to returns.
type Msg struct {
	Subject []byte
	Reply   []byte // nil when there is none
	Header  []byte // the whole header block, "NATS/1.0\r\n…\r\n\r\n"; nil when there is none
	Data    []byte
}

// A Bus is the subject space that a front-end lives on: the router of this
// process, or a connection to another NATS server. All methods may be called
// at once from any goroutine.
type Bus interface {
	// Subscribe routes every message on subjects that match pattern to sinks
	// of h, in addition to whatever other subscriptions receive it. It is in
	// force when the call returns. An invalid pattern is an error.
	Subscribe(pattern string, h Handler) (Subscription, error)

	// Publish routes one message now. It is for the rare message; a run of
	// messages goes through an Outlet.
	Publish(subject, reply string, header, data []byte)

	// Outlet returns a writer for runs of messages. An Outlet belongs to one
	// goroutine at a time and must be closed.
	Outlet() Outlet

	// HasInterest tells whether anyone is subscribed to the literal subject.
	HasInterest(subject string) bool

	// NewInbox returns a fresh literal subject, "_INBOX.…", that nobody
	// else uses.
	NewInbox() string

	// PayloadBytesMax is the largest payload that the bus carries.
	PayloadBytesMax() int
}

// A Subscription is an internal subscription made by Bus.Subscribe.
type Subscription interface {
	// Close ends it. No Msg of any of its sinks starts after it returned,
	// except on sources that are inside a read at that moment, which finish
	// that read.
	Close()
}

// A Handler receives messages of an internal subscription. For each source (a
// connection that publishes, or the process itself) the router asks for one
// Sink, lazily at the first message, so that the handler can keep open batches
// per source without locks.
type Handler interface {
	// Attach is called by the source's goroutine.
	Attach(src Source) Sink
}

// A Sink takes the messages that one source publishes to one handler. The
// router calls all of its methods from one goroutine at a time.
type Sink interface {
	// Msg takes one message. It must copy what it keeps. It must not block on
	// I/O.
	Msg(m *Msg)

	// Flush is called at the end of each read in which Msg was called. It may
	// block to push back on the source (the connection is not read meanwhile).
	Flush()

	// Detach is called once when the source is gone. Msg and Flush are not
	// called afterwards.
	Detach()
}

// A Source is where messages come from: a client connection, or the process
// itself (a Bus.Publish or an Outlet).
type Source interface {
	// ID is unique in the process; 0 is the process itself.
	ID() uint64
	// Name is the client's name as it gave it in CONNECT, for logs.
	Name() string
}

// An Outlet sends runs of messages. Use by one goroutine at a time. Messages
// of one Outlet to one receiver keep their order. Receivers may see a message
// at any time after Send, and will see it soon after Flush.
type Outlet interface {
	// Send queues one message for every receiver of the subject; its payload
	// is the concatenation of data and more, so that an encoder can put its
	// own bytes in front of stored ones without copying those first. The
	// bytes are copied (or written out) before Send returns. It returns the
	// number of receivers; 0 means nobody is interested.
	//
	// Consecutive calls with an equal subject cost one match, not many.
	Send(subject, reply, header, data, more []byte) int

	// Flush hands everything queued to the receivers.
	Flush()

	// Pending is the largest number of bytes queued and not yet written to
	// the socket of any receiver of the last subject sent to. A producer of
	// long runs stops when it is over its own limit.
	Pending() int

	// Drained blocks until Pending is below limit bytes, there is no receiver
	// any more, or ctx is done (its error is returned then).
	Drained(ctx context.Context, limit int) error

	// Close flushes and releases the Outlet.
	Close()
}
