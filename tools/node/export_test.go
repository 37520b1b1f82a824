package node

// Flags of the crash suite and the built program for the external tests.
var (
	Kills   = kills
	Seed    = seed
	Program = program
)
