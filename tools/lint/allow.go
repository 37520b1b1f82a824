package lint

import "slices"

// An exception excuses one package or file from one rule in one matter.
type exception struct {
	rule   string // of Finding
	where  string // file or package that is excused, or "x/..." for all below
	what   string // of Finding; "" is everything under the rule
	reason string
}

// everyException is the whole list. Prefer to change the code.
func everyException() []exception {
	return []exception{
		{
			rule: "layer", where: "partition/delivery", what: Module + "/partition/cursor",
			reason: "delivery decides what a cursor is sent next; both are pure, and an interface between them would have one implementation",
		},
		{
			rule: "layer", where: "partition/consumer", what: Module + "/partition/cursor",
			reason: "consumer is the driver around the pure cores cursor and delivery, for front-ends and the partition alike",
		},
		{
			rule: "layer", where: "partition/consumer", what: Module + "/partition/delivery",
			reason: "as above",
		},
		{
			rule: "layer", where: "wire/stan/harness_test.go", what: Module + "/tools/node",
			reason: "a front-end's tests with real clients need a whole node that can be restarted; node is how one is composed",
		},
		{
			rule: "door", where: "wire/stan/harness_test.go", what: "github.com/cockroachdb/pebble/v2/vfs",
			reason: "the node under those tests lives in memory",
		},
		{
			rule: "clock", where: "wire/nats",
			reason: "deadlines of sockets are points of real time, and net.Conn takes no other clock",
		},
	}
}

// excuse takes out the findings that an exception covers. It returns the rest,
// and the exceptions that covered nothing.
func excuse(findings []Finding, exceptions []exception) (rest []Finding, idle []exception) {
	used := make([]bool, len(exceptions))
	for _, f := range findings {
		excused := false
		for i, e := range exceptions {
			if e.rule == f.Rule && (e.what == "" || e.what == f.What) && (inAny([]string{e.where}, f.Path) || e.where == folderOf(f.Path)) {
				used[i], excused = true, true
			}
		}
		if !excused {
			rest = append(rest, f)
		}
	}
	for i, e := range exceptions {
		if !used[i] {
			idle = append(idle, e)
		}
	}
	return rest, slices.Clip(idle)
}

// folderOf is the package that a file is in.
func folderOf(path string) string {
	if i := len(path) - len(last(path)); i > 0 {
		return path[:i-1]
	}
	return "."
}
