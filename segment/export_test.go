package segment

import (
	"encoding/binary"

	"leat.dev/leat/segment/record"
)

// ParseFooter and ParseManifest let fuzzing reach the decoders.
func ParseFooter(file []byte) error {
	f, err := parseFooter(file, SegmentBytesMax)
	if err != nil {
		return err
	}
	for i := range int(f.Entries) {
		f.position(i)
	}
	f.extents(func(ch channelID, name []byte, _ Extent) bool {
		l := f.channel(ch)
		for i := range l.len() {
			l.at(i)
		}
		return len(name) >= 0
	})
	return nil
}

// ParseManifest decodes and encodes again.
func ParseManifest(src []byte) ([]byte, error) {
	m, err := parseManifest("fuzz", src)
	if err != nil {
		return nil, err
	}
	return m.appendTo(nil), nil
}

// FixManifestCRC lets a fuzzed manifest pass its checksum.
func FixManifestCRC(src []byte) {
	if len(src) >= manifestHeaderBytes {
		putChecksum(src[12:], src[16:])
	}
}

// FixFooterCRC lets a fuzzed footer pass its checksum.
func FixFooterCRC(file []byte) {
	if len(file) < trailerBytes {
		return
	}
	if n := int(trailerFooterBytes(file)); n >= trailerBytes && n <= len(file) {
		putChecksum(file[len(file)-trailerBytes+trailerCRC:], file[len(file)-n:len(file)-trailerBytes+trailerCRC])
	}
}

func putChecksum(dst, over []byte) {
	binary.LittleEndian.PutUint32(dst, record.Checksum(over))
}

// FillPace shows the pace of filling ahead.
var FillPace = fillPace

type channelID = record.ChannelID
