package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"leat.dev/leat/tools/node"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// testNode is a node that may be closed more than once.
type testNode struct {
	*node.Node
	once sync.Once
	err  error
}

func (n *testNode) Close() error {
	n.once.Do(func() { n.err = n.Node.Close() })
	return n.err
}

// startNode runs a small node on a folder; "" is a fresh one. It is closed at
// the end of the test, if not before.
func startNode(t *testing.T, dir, listen string) (n *testNode, server string) {
	t.Helper()
	if dir == "" {
		dir = t.TempDir()
	}
	opened, err := node.Open(node.Options{Dir: dir, Listen: listen, Partitions: 2, SegmentBytes: 4 << 20})
	require.NoError(t, err)
	n = &testNode{Node: opened}
	t.Cleanup(func() { _ = n.Close() })
	return n, "nats://" + n.Addr()
}

// result is what a command did.
type result struct {
	out, err string
	code     int
}

// leat runs the program with arguments as the shell would.
func leat(t *testing.T, in io.Reader, args ...string) result {
	t.Helper()
	return leatContext(t.Context(), in, args...)
}

func leatContext(ctx context.Context, in io.Reader, args ...string) result {
	var out, errOut bytes.Buffer
	root := newRoot()
	root.SetArgs(args)
	root.SetOut(&out)
	root.SetErr(&errOut)
	if in == nil {
		in = strings.NewReader("")
	}
	root.SetIn(in)
	err := root.ExecuteContext(ctx)
	code := 0
	if err != nil {
		code = 1
		var exit *exitError
		if errors.As(err, &exit) {
			code = exit.code
		}
		if exit == nil || exit.err != nil {
			errOut.WriteString("leat: " + err.Error() + "\n")
		}
	}
	return result{out.String(), errOut.String(), code}
}

// sharedFile is a file of the data that lies beside the repository, or the test
// is skipped.
func sharedFile(t *testing.T, name string) (path string, data []byte) {
	t.Helper()
	path = filepath.Join("..", "..", "..", "shared", "data", name)
	data, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		t.Skipf("%s is not beside the repository", name)
	}
	require.NoError(t, err)
	return path, data
}
