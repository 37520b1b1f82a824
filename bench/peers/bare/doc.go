// Package bare is the least that can acknowledge a publish after a sync: one
// goroutine for each connection, which reads a publish from the socket, writes
// it into a file over blocks that were written before, syncs, and answers.
//
// It is no store: it forgets, and it knows of the NATS protocol what nats.go's
// Request needs. It is there so that a comparison of latencies shows what the
// machine and the client take by themselves, whatever the server does.
//
// It neither batches nor shares syncs. Start with Serve.
package bare
