// Package pb encodes and decodes the messages that NATS Streaming clients and
// servers exchange: proto3, by hand.
//
// Decoding copies nothing: the byte slices of a decoded message are parts of
// what it was decoded from. Encoding appends to the caller's buffer. Neither
// allocates, because a publish, its acknowledgement, a delivery and its
// acknowledgement all pass through here.
//
// It decodes as the official clients' code does: fields of the same number may
// repeat, the last one counts; unknown fields are skipped; a known field of the
// wrong wire type makes the message malformed, as does a length that lies.
// Text is not checked to be UTF-8. Fields that hold their zero value are not
// written.
//
// Start with client.go (what clients send), then server.go (what they get).
package pb
