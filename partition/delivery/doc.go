// Package delivery decides which record of a channel is sent to which member
// of a consumer, and when again: a pure core. Events and the time go in,
// actions come out; there is no clock, no I/O and no goroutine.
//
// A Group delivers one channel to the members of one consumer. A plain or a
// durable subscription is a group of at most one member; a queue group has
// several, and each record goes to one of them.
//
// # Rules
//
//   - New records go out once, in order of offset, up to each member's
//     MaxInFlight.
//   - In a queue the member with the fewest records in flight among those that
//     are neither stalled, paused nor suspect gets the next one; the first of
//     the list when all are, if it can take it. A member chosen from the head
//     of the list goes to its tail.
//   - A record not acknowledged AckWait after it was sent is sent again, to any
//     member of a queue, whatever MaxInFlight says, with its count one higher.
//   - A member that leaves a queue leaves its records to the others, round
//     robin; they are sent again TransferDelay later. What the last member
//     leaves stays with the cursor.
//   - Whoever joins an empty group is first sent all that is pending, in order
//     and whatever MaxInFlight says; new records wait for that.
//   - An acknowledgement is taken from whomever it comes.
//   - Records that the channel has no more count as acknowledged.
//
// # Invariants
//
//   - A record in flight is pending in the cursor; one that is pending and not
//     in flight is owed by the resume that is under way, or the group is empty.
//   - The sum of the members' pending is the number of records in flight.
//   - A paused member is sent nothing.
//   - Every call does bounded work: Next and Expire take a limit.
//
// # What it does not do
//
// It reads no records, so it does not know which offsets are holes: whoever
// reads them says so by Gone. It keeps no state over a restart; its Cursor is
// what survives, and the owner logs that. It is not safe for concurrent use.
//
// Start with group.go (members, acknowledgements), then send.go (new records,
// resume) and expire.go (redelivery). flight.go is the table of records in
// flight.
package delivery
