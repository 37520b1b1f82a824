package nats

import "errors"

// ErrClosed is returned when the server is closed.
var ErrClosed = errors.New("nats server is closed")

// protocolError is what ends a connection, or only answers an operation. text
// goes to the client as -ERR; an empty one ends the connection without a word,
// which is what nats-server does with arguments that it cannot parse.
type protocolError struct {
	text   string
	reason string // for logs
}

func (e *protocolError) Error() string { return e.reason }

// drops tells whether what is queued for the connection cannot be written any
// more.
func (e *protocolError) drops() bool {
	return e == errSlowPending || e == errSlowDeadline || e == errWrite
}

// asProtocolError is for errors of the parser, which are all of this type.
func asProtocolError(err error) *protocolError {
	if p, ok := errors.AsType[*protocolError](err); ok {
		return p
	}
	return errArguments
}

// Errors that end a connection. PROTOCOL.md has the table.
var (
	errUnknownOperation   = &protocolError{"Unknown Protocol Operation", "unknown protocol operation"}
	errArguments          = &protocolError{"", "bad arguments"}
	errControlLine        = &protocolError{"maximum control line exceeded", "control line too long"}
	errPayload            = &protocolError{"Maximum Payload Violation", "payload too large"}
	errHeadersUnsupported = &protocolError{"", "message headers not supported by the client"}
	errAuthorization      = &protocolError{"Authorization Violation", "authorization violation"}
	errAuthTimeout        = &protocolError{"Authentication Timeout", "authentication timeout"}
	errClientProtocol     = &protocolError{"invalid client protocol", "invalid client protocol"}
	errNoRespHeaders      = &protocolError{"no responders requires headers support", "no_responders without headers"}
	errConnectJSON        = &protocolError{"", "malformed CONNECT"}
	errInfoJSON           = &protocolError{"", "malformed INFO"}
	errClientError        = &protocolError{"", "the client sent -ERR"}
	errConnections        = &protocolError{"maximum connections exceeded", "too many connections"}
	errStale              = &protocolError{"Stale Connection", "stale connection"}
	errSlowPending        = &protocolError{"", "slow consumer: too much pending"}
	errSlowDeadline       = &protocolError{"", "slow consumer: write deadline passed"}
	errRead               = &protocolError{"", "client closed"}
	errWrite              = &protocolError{"", "write error"}
	errShutdown           = &protocolError{"", "server shutdown"}
	errTLSHandshake       = &protocolError{"", "TLS handshake error"}
)

// Texts of -ERR that do not end a connection.
const (
	textInvalidSubject        = "Invalid Subject"
	textInvalidPublishSubject = "Invalid Publish Subject"
	textSubscriptions         = "maximum subscriptions exceeded"
)
