package rawnats

import "errors"

var (
	// ErrProtocol is returned when what the server sent is not the NATS
	// protocol.
	ErrProtocol = errors.New("not the NATS protocol")
	// ErrServer is returned when the server sent -ERR; its text follows.
	ErrServer = errors.New("the server says")
	// ErrStale is returned when the server answers nothing any more.
	ErrStale = errors.New("the server does not answer")
	// ErrURL is returned for an address that can't be dialled by this package.
	ErrURL = errors.New("want an address as nats://host:port")
)
