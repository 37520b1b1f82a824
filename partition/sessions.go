package partition

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"sync"

	"leat.dev/leat/index"
)

// sessions are small values of front-ends, by kind and name: a protocol's
// clients, for example. They are held in memory whole.
type sessions struct {
	mu    sync.RWMutex
	byKey map[sessionKey][]byte   // written by Apply with mu held
	dirty map[sessionKey]struct{} // of Apply: to be written to the index
}

type sessionKey struct {
	kind byte
	name string
}

func newSessions() sessions {
	return sessions{byKey: make(map[sessionKey][]byte), dirty: make(map[sessionKey]struct{})}
}

// Session is one stored value of a front-end.
type Session struct {
	Name  string
	Value []byte
}

func (s *sessions) put(k sessionKey, value []byte) {
	s.mu.Lock()
	s.byKey[k] = value
	s.mu.Unlock()
	s.dirty[k] = struct{}{}
}

func (s *sessions) delete(k sessionKey) {
	s.mu.Lock()
	delete(s.byKey, k)
	s.mu.Unlock()
	s.dirty[k] = struct{}{}
}

func (s *sessions) list(kind byte) []Session {
	s.mu.RLock()
	defer s.mu.RUnlock()
	var list []Session
	for k, v := range s.byKey {
		if k.kind == kind {
			list = append(list, Session{Name: k.name, Value: bytes.Clone(v)})
		}
	}
	slices.SortFunc(list, func(a, b Session) int { return strings.Compare(a.Name, b.Name) })
	return list
}

func (s *sessions) get(kind byte, name string) ([]byte, bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	v, ok := s.byKey[sessionKey{kind, name}]
	return bytes.Clone(v), ok
}

// Session returns a stored value.
func (p *Partition) Session(kind byte, name string) ([]byte, bool) { return p.sessions.get(kind, name) }

// Sessions lists the stored values of a kind, sorted by name.
func (p *Partition) Sessions(kind byte) []Session { return p.sessions.list(kind) }

// PutSession stores a value under kind and name. done is called once it is
// durable, or with an error: ErrTooLarge when the name is over 4 KiB or the
// value over 1 MiB. It may block like Append.
func (p *Partition) PutSession(kind byte, name string, value []byte, done func(error)) {
	if len(name) > index.MaxNameBytes || len(value) > index.MaxValueBytes {
		answer(done, fmt.Errorf("%w: session with a name of %d and a value of %d bytes, at most %d and %d", ErrTooLarge,
			len(name), len(value), index.MaxNameBytes, index.MaxValueBytes))
		return
	}
	p.operate(nil, &operation{
		code: opPutSession, number: uint64(kind), strings: appendString(appendString(nil, name), value), done: done,
	})
}

// DeleteSession removes a value, if there is one. done is called once that is
// durable, or with an error. It may block like Append.
func (p *Partition) DeleteSession(kind byte, name string, done func(error)) {
	if len(name) > index.MaxNameBytes {
		answer(done, nil) // there is none of that name
		return
	}
	p.operate(nil, &operation{code: opDeleteSession, number: uint64(kind), strings: appendString(nil, name), done: done})
}

// answer calls back at once.
func answer(done func(error), err error) {
	if done != nil {
		done(err)
	}
}
