package replication_test

import (
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	// A group that was halted by a damaged entry leaves one goroutine of Raft behind by design, and may leave the one that
	// waits for its answer. Nothing else may stay.
	goleak.VerifyTestMain(m,
		goleak.IgnoreTopFunction("leat.dev/leat/replication.park"),
		goleak.IgnoreTopFunction("github.com/hashicorp/raft.(*deferError).Error"))
}
