// Command leat runs a Leat storage node and works with it: publish, replay,
// channels, bench, and inspect, which reads segments offline.
//
// publish, replay and channels are NATS clients: they work over the network,
// through any node, with nothing that another NATS client could not do. Each
// command has a file of its own; main.go is the way from the arguments to one of
// them.
package main
