package record

// Offset is a record's place in its channel (in its lane, when the channel is
// split): dense, from 1. Zero means "no record" and is never given.
type Offset uint64

// ChannelID names a channel inside its partition. It counts up from 1 and is
// never given twice, so that a channel deleted and made again under the same
// name has another one. Zero is never given.
type ChannelID uint64

// SegmentID names a segment file inside its partition. It counts up from 1 and
// is never given twice, not even after a truncation.
type SegmentID uint64

// Limits of the format. A length in a file that is over its limit is damage.
const (
	ChannelNameBytesMax = 255
	KeyBytesMax         = 64 << 10
	SubjectBytesMax     = 4 << 10
	HeaderBytesMax      = 64 << 10
	// ValueBytesMax leaves room for what surrounds the value of the largest
	// message that a front-end takes (1 MiB by default, 8 MiB at most).
	ValueBytesMax = 8 << 20
	// BatchBytesMax bounds a batch as it lies in a file.
	BatchBytesMax = 9 << 20
	// BodyBytesMax bounds a batch's body when it is inflated.
	BodyBytesMax = 16 << 20
	// PayloadBytesMax bounds a frame's payload.
	PayloadBytesMax = 16 << 20
)
