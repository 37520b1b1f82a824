// Package subject knows NATS subjects: which are valid, and which subscriptions
// a published one matches.
//
// A subject is a row of tokens joined by dots. A pattern may hold the wildcard
// tokens "*" (exactly one token) and, last, ">" (one or more tokens). A [Tree]
// keeps subscriptions by pattern, plain or as members of queue groups, and
// answers [Tree.Match].
//
// Invariants:
//   - A match that starts after Insert or Remove returned sees its effect.
//   - A shared [Result] never changes; whoever holds one may read it for ever.
//   - If [Tree.Generation] of a subject is what it was before a Match, the
//     result of that Match is still true.
//   - The memory of the cache is bounded, whatever subjects are published.
//
// The package knows nothing of connections, messages or delivery: it is generic
// over what a subscription is. Start with tree.go; node.go is the trie and
// cache.go the memory of past matches.
package subject
