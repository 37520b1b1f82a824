package partition

import (
	"bytes"
	"slices"
	"strings"
	"sync"
)

// sessions are small values of front-ends, by kind and name: a protocol's
// clients, for example. They are held in memory whole.
type sessions struct {
	mu    sync.RWMutex
	byKey map[sessionKey][]byte   // guarded by mu; written by Apply
	dirty map[sessionKey]struct{} // of Apply: to be written to the index
}

type sessionKey struct {
	kind byte
	name string
}

// Session is one stored value of a front-end.
type Session struct {
	Name  string
	Value []byte
}

func (s *sessions) put(kind byte, name string, value []byte) {
	k := sessionKey{kind, strings.Clone(name)}
	s.mu.Lock()
	s.byKey[k] = value
	s.mu.Unlock()
	s.dirty[k] = struct{}{}
}

func (s *sessions) delete(kind byte, name string) {
	k := sessionKey{kind, strings.Clone(name)}
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
// durable, or with an error. It may block like Append.
func (p *Partition) PutSession(kind byte, name string, value []byte, done func(error)) {
	value = bytes.Clone(value)
	p.operate(nil, func(dst []byte) []byte {
		return appendOp(dst, opPutSession, []uint64{uint64(kind)}, []byte(name), value)
	}, done)
}

// DeleteSession removes a value, if there is one. done is called once that is
// durable, or with an error.
func (p *Partition) DeleteSession(kind byte, name string, done func(error)) {
	p.operate(nil, func(dst []byte) []byte {
		return appendOp(dst, opDeleteSession, []uint64{uint64(kind)}, []byte(name))
	}, done)
}
