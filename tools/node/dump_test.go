package node

import (
	"path/filepath"
	"strings"
	"testing"

	pebblevfs "github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"leat.dev/leat/index"
	"leat.dev/leat/segment/vfs"
)

// dumpIndex opens the index alone and writes out every key of every partition.
func dumpIndex(t *testing.T, _ vfs.FS, indexFiles pebblevfs.FS) string {
	t.Helper()
	x, err := index.Open(index.Options{Dir: filepath.Join("data", "index"), FS: indexFiles})
	require.NoError(t, err)
	defer func() { require.NoError(t, x.Close()) }()
	var out strings.Builder
	for i := range 2 {
		require.NoError(t, x.Partition(uint32(i)).Dump(&out))
	}
	return out.String()
}
