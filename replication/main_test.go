package replication_test

import (
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	// A group that was halted by a damaged entry leaves one goroutine of Raft behind by design, with those that this one would
	// have ended, and may leave the one that waits for its answer. Nothing else may stay; tests under synctest, where
	// nothing is halted, do not let these stay either.
	goleak.VerifyTestMain(m,
		goleak.IgnoreTopFunction("github.com/hashicorp/raft.(*Raft).heartbeat"),
		goleak.IgnoreTopFunction("github.com/hashicorp/raft.(*Raft).pipelineDecode"),
		goleak.IgnoreTopFunction("leat.dev/leat/replication.park"),
		goleak.IgnoreTopFunction("github.com/hashicorp/raft.(*deferError).Error"),
		// The same wait, seen further down when Raft has begun to shut down.
		goleak.IgnoreAnyFunction("github.com/hashicorp/raft.(*shutdownFuture).Error"))
}
