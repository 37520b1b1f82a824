package lint

// The house as data. What a rule may be excused from is in allow.go.

// layerRank gives the layer of each top folder. Imports go from a higher rank
// to a lower one, or stay inside the folder.
func layerRank(folder string) (rank int, known bool) {
	switch folder {
	case "segment":
		return 0, true
	case "index":
		return 1, true
	case "partition":
		return 2, true
	case "replication", "wire":
		return 3, true
	case "tools", "bench":
		return 4, true
	}
	return 0, false
}

// program tells whether a top folder holds programs, which introduce the
// layers to each other, have flags, and own files, sockets and clocks.
func program(folder string) bool { return folder == "tools" || folder == "bench" }

// childrenImplement tells whether the children of a top folder import their
// parent (wire, whose children implement its interfaces). In every other layer
// the parent composes its children, which know neither it nor each other.
func childrenImplement(folder string) bool { return folder == "wire" }

// pureCore tells whether a package takes state, event and now, and returns
// actions, with nothing else going in or out.
func pureCore(path string) bool {
	// consumer drives the cores: it has the goroutine, the timer and the reads.
	return under(path, "partition") && path != "partition" && path != "partition/consumer"
}

// A door is an outside world, and who may open it.
type door struct {
	world  string   // as the finding names it
	paths  []string // import paths; "x/..." is x and all below it
	except []string // of these

	open        []string // packages that may; "x/..." is x and all below it
	programsToo bool     // programs may, too
	tests       []string // packages whose tests may; nil is every package
}

func everyDoor() []door {
	programs := []string{"tools/...", "bench/..."}
	return []door{
		{
			world: "Pebble", paths: []string{"github.com/cockroachdb/pebble/..."},
			// A node passes Pebble's options and file system on to index.
			open:  []string{"index", "tools/node"},
			tests: append([]string{"index", "partition/...", "replication/..."}, programs...),
		},
		{
			world: "hashicorp/raft",
			paths: []string{
				"github.com/hashicorp/raft/...", "github.com/hashicorp/go-hclog",
				"github.com/hashicorp/go-metrics/...", "github.com/hashicorp/go-msgpack/...",
			},
			open:  []string{"replication/..."},
			tests: []string{"replication/...", "tools/..."},
		},
		{
			world: "the operating system", paths: []string{"golang.org/x/sys/...", "os/...", "io/ioutil"},
			// What may be taken from os and syscall is a matter of names, see
			// doorNames: errors and types are no door.
			except: []string{"os"},
			open:   []string{"segment/vfs"}, programsToo: true,
		},
		{
			world: "untyped memory", paths: []string{"unsafe"},
			open: []string{"segment/vfs"}, programsToo: true,
		},
		{
			world: "sockets",
			paths: []string{"net/...", "crypto/tls"},
			// No sockets in these: text and numbers only.
			except: []string{"net/netip", "net/url", "net/textproto", "net/mail", "net/http/..."},
			open:   []string{"wire/...", "replication/..."}, programsToo: true,
		},
		{
			world: "HTTP",
			paths: []string{"net/http/...", "github.com/prometheus/client_golang/prometheus/promhttp"},
			open:  []string{"wire/admin"}, programsToo: true,
		},
		{
			world: "flags and the terminal",
			paths: []string{
				"flag", "github.com/spf13/...", "golang.org/x/term",
				"github.com/schollz/progressbar/...",
			},
			open: nil, programsToo: true,
		},
		{
			world: "NATS and STAN client and server libraries",
			paths: []string{"github.com/nats-io/nats.go/...", "github.com/nats-io/stan.go/...", "github.com/nats-io/nats-server/..."},
			open:  nil, programsToo: true,
		},
		{
			world: "libraries for tests",
			paths: []string{
				"testing/...", "github.com/stretchr/testify/...", "go.uber.org/goleak/...",
				"github.com/cockroachdb/datadriven/...", "pgregory.net/rapid/...",
				"github.com/anishathalye/porcupine/...",
			},
			open: nil, programsToo: true,
		},
		{
			// require stops a test at its first wrong fact; what follows one
			// is noise.
			world: "testify/assert", paths: []string{"github.com/stretchr/testify/assert"},
			open: nil, tests: []string{"nowhere"},
		},
		{
			// Logs are structured, and their destination is an option.
			world: "package log", paths: []string{"log"},
			open: nil, programsToo: true,
		},
	}
}

// doorNames tells, by import path, which names open the door to files, so that
// below programs no package but segment/vfs may use them. (A door on the import
// itself would shut out os.ErrNotExist.)
func doorNames() map[string]func(name string) bool {
	pureOS := map[string]bool{
		"ErrNotExist": true, "ErrExist": true, "ErrClosed": true, "ErrPermission": true, "ErrInvalid": true,
		"ErrDeadlineExceeded": true, "FileMode": true, "FileInfo": true, "DirEntry": true, "ModePerm": true,
		"PathError": true, "SyscallError": true, "LinkError": true, "Getpagesize": true, "PathSeparator": true,
		"O_RDONLY": true, "O_WRONLY": true, "O_RDWR": true, "O_CREATE": true, "O_EXCL": true, "O_TRUNC": true,
	}
	reads := map[string]bool{"Glob": true, "Walk": true, "WalkDir": true, "EvalSymlinks": true, "Abs": true}
	loads := map[string]bool{"LoadX509KeyPair": true}
	return map[string]func(string) bool{
		"os":            func(name string) bool { return !pureOS[name] },
		"syscall":       func(name string) bool { return name != "Errno" && !errnoName(name) },
		"path/filepath": func(name string) bool { return reads[name] },
		"crypto/tls":    func(name string) bool { return loads[name] },
	}
}

// errnoName tells whether name is one of syscall's error numbers.
func errnoName(name string) bool {
	if len(name) < 3 || name[0] != 'E' {
		return false
	}
	for _, c := range name[1:] {
		if (c < 'A' || c > 'Z') && (c < '0' || c > '9') {
			return false
		}
	}
	return true
}

// clockCalls are the functions of package time that read the clock. Naming
// time.Now without calling it is how Options get their default.
func clockCalls() map[string]bool {
	return map[string]bool{"Now": true, "Since": true, "Until": true}
}

// timerCalls are what a pure core may not call in addition.
func timerCalls() map[string]bool {
	return map[string]bool{
		"Sleep": true, "After": true, "AfterFunc": true, "Tick": true, "NewTimer": true, "NewTicker": true,
	}
}

// impureImports are what a pure core may not import in addition to what its
// place forbids anyway.
func impureImports() map[string]bool {
	return map[string]bool{
		"context": true, "crypto/rand": true, "log/slog": true, "math/rand": true,
		"math/rand/v2": true, "os": true, "runtime": true, "sync": true, "sync/atomic": true, "syscall": true,
	}
}

// emptyNames are package names that say nothing.
func emptyNames() map[string]bool {
	return map[string]bool{
		"util": true, "utils": true, "common": true, "helper": true, "helpers": true, "types": true,
		"misc": true, "shared": true, "base": true, "lib": true, "internal": true,
	}
}
