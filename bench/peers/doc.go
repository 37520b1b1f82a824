// Command peers runs other systems beside Leat and says how they compare:
// nats-server with JetStream, nats-streaming-server, fio. It installs and
// starts them itself. README.md has the commands and the rules of fairness.
//
// Package peer installs and runs servers, client holds the workloads, suite
// says what is compared and in which order, report makes medians and verdicts.
package main
