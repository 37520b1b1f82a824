package vfs

import (
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Rule says which calls go wrong, and how. A rule that sets none of Err, Skip, Delay and Hook fails with EIO.
type Rule struct {
	// Op is the operation. Default OpAny.
	Op Op
	// Path restricts the rule to files. With one of *?[ in it, it is a pattern for the last element of the path, as in
	// filepath.Match; else a part of the path. A rename matches by either name. Default: all.
	Path string
	// After lets the first matches pass.
	After int
	// Count is how many matches after those are affected. Default 0: all.
	Count int

	// Err is returned, wrapped with operation and path, and the operation is not done.
	Err error
	// Short, with Err, is how many bytes of a WriteAt, WriteVecAt or ReadAt are done before it fails: a torn write.
	// Not negative.
	Short int
	// LoseDirty, with Err, makes a failed Sync or SyncData do what it does in a kernel: the pages count as clean, a
	// later sync returns nil and does not write them. It needs a MemFS below and does nothing on others.
	LoseDirty bool

	// Skip lets the operation report success without being done: a sync that the program forgot, a write that the disk
	// lost. It has no effect on operations that return more than an error or a count of bytes written.
	Skip bool

	// Delay holds the call up before it goes on.
	Delay time.Duration
	// Hook runs before the operation, without any lock held; it may use the file systems and the Fault. The state of
	// a CrashClone taken in the hook is that of a power cut just before the operation.
	Hook func()
}

// Injected is a rule at work.
type Injected struct {
	fault *Fault
	rule  Rule

	// Guarded by fault.mu.
	matches int
	hits    int
}

// Remove ends the rule. A call that it holds up already goes on to its end.
func (i *Injected) Remove() {
	i.fault.mu.Lock()
	defer i.fault.mu.Unlock()
	i.fault.injected = slices.DeleteFunc(i.fault.injected, func(other *Injected) bool { return other == i })
}

// Hits is the number of calls that the rule has affected.
func (i *Injected) Hits() int {
	i.fault.mu.Lock()
	defer i.fault.mu.Unlock()
	return i.hits
}

// Fault is a file system that passes everything on to another one, save for what its rules say, and counts calls.
//
// To fail every call of a program in turn: run it once and take Total; then for each i below that run it with
// Rule{After: i, Count: 1}.
type Fault struct {
	inner FS

	mu       sync.Mutex
	injected []*Injected // In order of injection.
	counts   [opCount]int
}

var _ FS = (*Fault)(nil)

// NewFault returns a Fault without rules.
func NewFault(inner FS) *Fault { return &Fault{inner: inner} }

// Inject adds a rule. Of several that match one call, all hooks and delays run, in the order of injection, and the
// first with an error or a skip decides.
func (f *Fault) Inject(rule Rule) *Injected {
	if rule.Err == nil && !rule.Skip && rule.Delay == 0 && rule.Hook == nil {
		rule.Err = syscall.EIO
	}
	injected := &Injected{fault: f, rule: rule}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.injected = append(f.injected, injected)
	return injected
}

// Clear removes all rules.
func (f *Fault) Clear() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.injected = nil
}

// Count is the number of calls of one operation since the start or the last ResetCounts, affected ones included; with
// OpAny, of all.
func (f *Fault) Count(op Op) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	if op != OpAny {
		return f.counts[op]
	}
	total := 0
	for _, n := range f.counts {
		total += n
	}
	return total
}

// Total is Count(OpAny).
func (f *Fault) Total() int { return f.Count(OpAny) }

// ResetCounts starts counting anew. Rules keep their own counts.
func (f *Fault) ResetCounts() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.counts = [opCount]int{}
}

// verdict is what the rules say about one call.
type verdict struct {
	err       error // Wrapped.
	short     int
	skip      bool
	loseDirty bool
}

// check counts a call, holds it up where rules say so, and says how it goes on. path2 is the new name of a rename.
func (f *Fault) check(op Op, path, path2 string) verdict {
	var v verdict
	decided := false
	for _, rule := range f.affecting(op, path, path2) {
		if rule.Hook != nil {
			rule.Hook()
		}
		if rule.Delay > 0 {
			time.Sleep(rule.Delay)
		}
		if decided || (rule.Err == nil && !rule.Skip) {
			continue
		}
		decided = true
		if rule.Err == nil {
			v.skip = true
			continue
		}
		v = verdict{err: pathError(op.String(), path, rule.Err), short: rule.Short, loseDirty: rule.LoseDirty}
	}
	return v
}

// affecting counts the call with the Fault and its rules, and gives the rules whose turn it is.
func (f *Fault) affecting(op Op, path, path2 string) []Rule {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.counts[op]++
	var rules []Rule
	for _, i := range f.injected {
		if !i.rule.matches(op, path) && (path2 == "" || !i.rule.matches(op, path2)) {
			continue
		}
		i.matches++
		turn := i.matches - i.rule.After
		if turn <= 0 || (i.rule.Count > 0 && turn > i.rule.Count) {
			continue
		}
		i.hits++
		rules = append(rules, i.rule)
	}
	return rules
}

func (r *Rule) matches(op Op, path string) bool {
	if r.Op != OpAny && r.Op != op {
		return false
	}
	if !strings.ContainsAny(r.Path, "*?[") {
		return strings.Contains(path, r.Path)
	}
	ok, err := filepath.Match(r.Path, filepath.Base(path))
	return ok && err == nil
}
