package main

import (
	"encoding/binary"
	"fmt"
	"strconv"
	"time"
)

// fieldKind says how a field's bytes are shown.
type fieldKind uint8

const (
	kindNumber fieldKind = iota // unsigned, decimal
	kindHex                     // checksums, hashes, chains
	kindTime                    // ns since 1970
	kindText
	kindZero // reserved
	kindBytes
)

// field is one field of a structure, as FORMAT.md has it.
type field struct {
	name  string
	bytes int
	kind  fieldKind
}

// The layouts follow the boxes of segment/FORMAT.md and of package record; the
// golden file's dump there would show a difference.

func segmentHeaderLayout() []field {
	return []field{
		{"magic", 8, kindText},
		{"version", 4, kindNumber},
		{"crc", 4, kindHex},
		{"partition", 4, kindNumber},
		{"fileBytes", 4, kindNumber},
		{"segment", 8, kindNumber},
		{"created", 8, kindTime},
		{"clusterBytes", 1, kindNumber},
		{"zero", 7, kindZero},
		{"cluster", 64, kindText},
	}
}

func frameHeaderLayout() []field {
	return []field{
		{"magic", 4, kindText},
		{"headerCRC", 4, kindHex},
		{"frameBytes", 4, kindNumber},
		{"payloadBytes", 4, kindNumber},
		{"segment", 8, kindNumber},
		{"index", 8, kindNumber},
		{"term", 8, kindNumber},
		{"chain", 8, kindHex},
		{"payloadCRC", 4, kindHex},
		{"type", 2, kindNumber},
		{"attrs", 2, kindNumber},
		{"time", 8, kindTime},
		{"syncedThrough", 8, kindNumber},
		{"commitHint", 8, kindNumber},
		{"batches", 4, kindNumber},
		{"zeroSectors", 4, kindNumber},
		{"zero", 4, kindZero},
		{"endMark", 4, kindText},
	}
}

func batchHeaderLayout() []field {
	return []field{
		{"batchBytes", 4, kindNumber},
		{"crc", 4, kindHex},
		{"kind", 1, kindNumber},
		{"codec", 1, kindNumber},
		{"encoding", 1, kindNumber},
		{"nameBytes", 1, kindNumber},
		{"count", 4, kindNumber},
		{"channel", 8, kindNumber},
		{"baseOffset", 8, kindNumber},
		{"time", 8, kindTime},
		{"producerID", 8, kindNumber},
		{"producerEpoch", 2, kindNumber},
		{"flags", 2, kindNumber},
		{"producerSeq", 4, kindNumber},
		{"bodyBytes", 4, kindNumber},
		{"rawBytes", 4, kindNumber},
		{"term", 8, kindNumber},
	}
}

func footerChannelLayout() []field {
	return []field{
		{"channel", 8, kindNumber},
		{"nameStart", 4, kindNumber},
		{"nameBytes", 4, kindNumber},
		{"firstBatch", 4, kindNumber},
		{"batches", 4, kindNumber},
		{"records", 8, kindNumber},
		{"bytes", 8, kindNumber},
		{"timeMin", 8, kindTime},
		{"timeMax", 8, kindTime},
		{"offsetFirst", 8, kindNumber},
		{"offsetLast", 8, kindNumber},
	}
}

func footerBatchLayout() []field {
	return []field{
		{"position", 4, kindNumber},
		{"count", 4, kindNumber},
		{"baseOffset", 8, kindNumber},
		{"time", 8, kindTime},
	}
}

func trailerLayout() []field {
	return []field{
		{"segment", 8, kindNumber},
		{"partition", 4, kindNumber},
		{"end", 4, kindNumber},
		{"firstIndex", 8, kindNumber},
		{"prevTerm", 8, kindNumber},
		{"prevChain", 8, kindHex},
		{"lastIndex", 8, kindNumber},
		{"lastTerm", 8, kindNumber},
		{"lastChain", 8, kindHex},
		{"hash", 8, kindHex},
		{"entries", 4, kindNumber},
		{"channels", 4, kindNumber},
		{"batches", 4, kindNumber},
		{"nameBytes", 4, kindNumber},
		{"records", 8, kindNumber},
		{"version", 4, kindNumber},
		{"zero", 12, kindZero},
		{"crc", 4, kindHex},
		{"footerBytes", 4, kindNumber},
		{"magic", 8, kindText},
	}
}

func manifestLayout() []field {
	return []field{
		{"magic", 8, kindText},
		{"version", 4, kindNumber},
		{"crc", 4, kindHex},
		{"generation", 8, kindNumber},
		{"partition", 4, kindNumber},
		{"segments", 4, kindNumber},
		{"nextSegment", 8, kindNumber},
		{"baseIndex", 8, kindNumber},
		{"baseTerm", 8, kindNumber},
		{"baseChain", 8, kindHex},
		{"clusterBytes", 1, kindNumber},
		{"zero", 7, kindZero},
		{"cluster", 64, kindText},
	}
}

func manifestSegmentLayout() []field {
	return []field{
		{"segment", 8, kindNumber},
		{"state", 1, kindNumber},
		{"bound", 1, kindNumber},
		{"zero", 2, kindZero},
		{"fileBytes", 4, kindNumber},
		{"end", 4, kindNumber},
		{"cutBytes", 4, kindNumber},
		{"firstIndex", 8, kindNumber},
		{"lastIndex", 8, kindNumber},
		{"lastTerm", 8, kindNumber},
		{"lastChain", 8, kindHex},
		{"hash", 8, kindHex},
		{"footerCRC", 4, kindHex},
		{"footerBytes", 4, kindNumber},
		{"records", 8, kindNumber},
	}
}

// layoutBytes is the size of a structure.
func layoutBytes(layout []field) int {
	n := 0
	for _, f := range layout {
		n += f.bytes
	}
	return n
}

// fieldNumber gives a field's value; the layout must have it.
func fieldNumber(layout []field, src []byte, name string) uint64 {
	at := 0
	for _, f := range layout {
		if f.name == name {
			return littleEndian(src[at : at+f.bytes])
		}
		at += f.bytes
	}
	panic("leat: layout without field " + name)
}

func littleEndian(b []byte) uint64 {
	var wide [8]byte
	copy(wide[:], b)
	return binary.LittleEndian.Uint64(wide[:])
}

// show gives a field's value as text.
func (f field) show(b []byte) string {
	switch f.kind {
	case kindNumber:
		return strconv.FormatUint(littleEndian(b), 10)
	case kindHex:
		return fmt.Sprintf("0x%0*x", 2*f.bytes, littleEndian(b))
	case kindTime:
		n := int64(littleEndian(b))
		if n == 0 {
			return "0"
		}
		return time.Unix(0, n).UTC().Format(time.RFC3339Nano)
	case kindText:
		end := len(b)
		for end > 0 && b[end-1] == 0 {
			end--
		}
		return strconv.Quote(string(b[:end]))
	case kindZero:
		for _, c := range b {
			if c != 0 {
				return "NOT ZERO"
			}
		}
	}
	return ""
}
