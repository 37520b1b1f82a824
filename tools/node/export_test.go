package node

// Flags of the crash suite for the external tests.
var (
	Kills = kills
	Seed  = seed
)
