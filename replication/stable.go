package replication

import "fmt"

// The keys that Raft keeps in its StableStore.
const (
	keyCurrentTerm = "CurrentTerm"
	keyVoteTerm    = "LastVoteTerm"
	keyCandidate   = "LastVoteCand"
)

// stableStore is Raft's view of the vote file. A key without a value is nil or 0 and no error: Raft compares the text of
// the error otherwise.
//
// Raft panics when the term cannot be stored. So, as with a damaged entry, it does not get to see the error: the group is
// stopped and the caller parked.
type stableStore struct {
	votes *voteFile
	halt  func(error) // does not return once Raft runs
}

// Set implements raft.StableStore.
func (s *stableStore) Set(key, value []byte) error {
	if string(key) != keyCandidate {
		return fmt.Errorf("vote file has no key %q", key)
	}
	candidate := string(value)
	return s.set(func(v *vote) { v.candidate = candidate })
}

// Get implements raft.StableStore.
func (s *stableStore) Get(key []byte) ([]byte, error) {
	if string(key) != keyCandidate {
		return nil, nil
	}
	if c := s.votes.get().candidate; c != "" {
		return []byte(c), nil
	}
	return nil, nil
}

// SetUint64 implements raft.StableStore.
func (s *stableStore) SetUint64(key []byte, value uint64) error {
	switch string(key) {
	case keyCurrentTerm:
		return s.set(func(v *vote) { v.term = value })
	case keyVoteTerm:
		return s.set(func(v *vote) { v.voteTerm = value })
	}
	return fmt.Errorf("vote file has no key %q", key)
}

// GetUint64 implements raft.StableStore.
func (s *stableStore) GetUint64(key []byte) (uint64, error) {
	switch string(key) {
	case keyCurrentTerm:
		return s.votes.get().term, nil
	case keyVoteTerm:
		return s.votes.get().voteTerm, nil
	}
	return 0, nil
}

func (s *stableStore) set(change func(*vote)) error {
	err := s.votes.set(change)
	if err != nil {
		s.halt(err)
	}
	return err
}
