// Package suite says what is compared with what: the cases, their participants
// and targets, and the order of runs.
//
// Invariants, which make the comparison fair: the participants of a case run
// the same client code in a fresh process each, against a fresh server process
// with an empty data folder on the same disk, one at a time; they take turns
// within a round, and each round begins with another; a figure counts only if
// its run found every message.
//
// Start reading at cases.go, then run.go.
package suite
