// Package lint keeps the rules of this house that no general linter knows. It
// has no API for programs: go test ./tools/lint is the way to use it.
//
// What it checks:
//
//   - layers: segment < index < partition < {replication | wire} < {tools,
//     bench}. Imports point down only. Which children of a folder may know each
//     other is a table, too.
//   - doors: there is one door to each outside world. Pebble is in index,
//     hashicorp/raft in replication, files in segment/vfs, sockets in wire and
//     replication, HTTP in wire/admin, flags and environment in programs.
//   - pure cores: children of partition have no clock, no I/O, no lock and no
//     goroutine.
//   - clocks: below programs, the time comes in through Options.
//   - globals: below programs, no variable of a package changes, and there is
//     no init.
//   - documents: each package has a doc.go whose comment go doc shows.
//   - names: no util, common, helpers, types.
//   - tests: each says its aim and method; goleak watches packages that start
//     goroutines.
//   - sizes: a file over 800 lines or a function over 150 needs an entry with
//     a reason in sizes.txt, and percentiles must stay under what it says.
//   - texts: no path of somebody's home directory anywhere in the tree.
//
// Every rule looks at all files of a package, those of other systems and
// architectures included, since go list alone would see only this machine's.
// Files of tests have rules of their own: they may open any door that their
// layer could reach, and may know their siblings, but they do not look up
// either.
//
// An exception is a line with a reason in allow.go. An exception that excuses
// nothing any more is reported, so the list can only be as long as it must be.
//
// Start at table.go, which is the house as data; rules.go applies it.
package lint
