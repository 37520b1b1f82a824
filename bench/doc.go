// Package bench measures Leat: workloads as functions, latencies in HDR
// histograms, and reports in which each figure has its unit. `leat bench` gives
// it flags; bench/peers, a module of its own, sets the same work beside other
// systems.
//
// A workload counts only what was acknowledged or received, and checks what it
// gets: offsets must follow each other, and contents be those that were sent. It
// ends with an error when they are not.
//
//	Publish   acknowledged publishes with nats.go, or over a bare connection
//	Replay    stored records from the first on
//	Core      publish and subscribe without storage
//	PubSub    acknowledged publishes and a follower that reads them
//	Latency   one publish at a time, beside one fdatasync at a time
//	Engine    appends and reads with no network at all
//
// It has no flags and prints nothing. Start with report.go and publish.go.
package bench
