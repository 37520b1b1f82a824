package stan

import (
	"errors"
	"fmt"

	"leat.dev/leat/partition"
)

// What clients are told, to the byte: applications match on these texts.
var (
	errInvalidConnReq     = errors.New("stan: invalid connection request")
	errInvalidClientID    = errors.New("stan: invalid clientID: only alphanumeric and `-` or `_` characters allowed")
	errClientRegistered   = errors.New("stan: clientID already registered")
	errInvalidPubReq      = errors.New("stan: invalid publish request")
	errTooManyChannels    = errors.New("too many channels")
	errTooManySubs        = errors.New("too many subscriptions per channel")
	errChannelDeleted     = errors.New("stan: channel is being deleted")
	errInvalidSubReq      = errors.New("stan: invalid subscription request")
	errMissingClient      = errors.New("stan: clientID missing")
	errInvalidAckWait     = errors.New("stan: invalid ack wait time, should be >= 1s")
	errInvalidMaxInflight = errors.New("stan: invalid MaxInflight, should be >= 1")
	errInvalidStart       = errors.New("stan: invalid start position")
	errInvalidSubject     = errors.New("stan: invalid subject")
	errUnknownClient      = errors.New("stan: unknown clientID")
	errDupDurable         = errors.New("stan: duplicate durable registration")
	errDurableQueue       = errors.New("stan: durable name of a durable queue subscriber can't contain the character ':'")
	errInvalidUnsubReq    = errors.New("stan: invalid unsubscribe request")
	errUnknownChannel     = errors.New("stan: unknown channel")
	errInvalidSub         = errors.New("stan: invalid subscription")
	errInvalidCloseReq    = errors.New("stan: invalid close request")
	errReplaced           = errors.New("client has been replaced or is no longer registered")
	errNoSpace            = errors.New("stan: no space left on the server's disk")
	errShutdown           = errors.New("stan: server is shutting down")
	errTooLarge           = errors.New("stan: message too large")
	errDamaged            = errors.New("stan: stored messages are damaged")
	errInternal           = errors.New("stan: internal error, see the server's log")

	// What a clustered streaming server passes on from its Raft library.
	errNotLeader = errors.New("node is not the leader")
	errLost      = errors.New("leadership lost while committing log")
)

// caseConflict is what a channel name that differs from another one only by
// case is refused with. The slip in "alreay" is the old server's, and clients
// may know it.
func caseConflict(name, other string) error {
	return fmt.Errorf("rejecting channel %q because channel %q alreay exists (different cases not allowed)", name, other)
}

// storeErrors says what clients are told when the store refuses. The first that
// matches counts.
func storeErrors() []struct{ store, told error } {
	return []struct{ store, told error }{
		{errShutdown, errShutdown},
		{partition.ErrNoChannel, errChannelDeleted},
		{partition.ErrNotLeader, errNotLeader},
		{partition.ErrUnknownOutcome, errLost},
		{partition.ErrNoSpace, errNoSpace},
		{partition.ErrClosed, errShutdown},
		{partition.ErrTooLarge, errTooLarge},
		{partition.ErrCorrupt, errDamaged},
	}
}

// told returns what a client is told about an error of the store.
func told(err error) error {
	for _, e := range storeErrors() {
		if errors.Is(err, e.store) {
			return e.told
		}
	}
	return errInternal
}
