package node

import (
	"flag"
	"testing"

	"go.uber.org/goleak"
)

// The crash suite runs longer when asked to.
var (
	cuts  = flag.Int("cuts", 150, "simulated power cuts in TestPowerCuts")
	kills = flag.Int("kills", 3, "kill -9 of a real node in TestKill")
	seed  = flag.Uint64("seed", 0, "seed of the crash suite; 0 takes a random one, which is printed")
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }
