package partition

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"leat.dev/leat/segment/record"
)

// Config is a channel's settings. The zero value is that of a channel made by
// its first publish. It is stored as JSON, so fields may be added.
type Config struct {
	// Subjects are the subject patterns whose publishes are stored in the
	// channel.
	Subjects []string `json:"subjects,omitempty"`
	// Compression of payloads: "none" (also ""), "s2" or "zstd".
	Compression string `json:"compression,omitempty"`
	// MaxRecords, MaxBytes and MaxAge move the first offset forward when there
	// is more, or older, than that; 0 is no limit.
	MaxRecords uint64        `json:"max_records,omitempty"`
	MaxBytes   uint64        `json:"max_bytes,omitempty"`
	MaxAge     time.Duration `json:"max_age,omitempty"`
}

const (
	// subjectsMax bounds what is matched for one channel.
	subjectsMax = 1024
	// configBytesMax bounds the stored form: with the channel's name and figures
	// it has to fit into a value of the index.
	configBytesMax = 256 << 10
)

// Validate says what is wrong with the settings, or nil. The error wraps
// ErrConfig.
func (c *Config) Validate() error {
	if _, err := c.codec(); err != nil {
		return fmt.Errorf("%w: %w", ErrConfig, err)
	}
	if c.MaxAge < 0 {
		return fmt.Errorf("%w: max_age %s is negative", ErrConfig, c.MaxAge)
	}
	if len(c.Subjects) > subjectsMax {
		return fmt.Errorf("%w: %d subjects, at most %d", ErrConfig, len(c.Subjects), subjectsMax)
	}
	for _, s := range c.Subjects {
		if len(s) == 0 || len(s) > record.SubjectBytesMax {
			return fmt.Errorf("%w: subject of %d bytes, want 1 to %d", ErrConfig, len(s), record.SubjectBytesMax)
		}
	}
	if n := len(c.encode()); n > configBytesMax {
		return fmt.Errorf("%w: they take %d bytes, at most %d: bind fewer or shorter subjects", ErrConfig, n, configBytesMax)
	}
	return nil
}

func (c *Config) codec() (record.Codec, error) {
	if c.Compression == "" {
		return record.CodecNone, nil
	}
	return record.ParseCodec(c.Compression)
}

// Equal tells whether both say the same.
func (c *Config) Equal(o *Config) bool { return bytes.Equal(c.encode(), o.encode()) }

// encode gives the stored form; the zero value is no bytes at all, because most
// of a million channels have no settings.
func (c *Config) encode() []byte {
	b, err := json.Marshal(c)
	if err != nil {
		panic(err) // plain data always encodes
	}
	if string(b) == "{}" {
		return nil
	}
	return b
}

// settings are a Config that does not change any more, with what follows from
// it. The zero settings are nil.
type settings struct {
	Config
	codec   record.Codec
	encoded []byte
}

// settle copies a valid Config.
func (c *Config) settle() (*settings, error) {
	encoded := c.encode()
	if encoded == nil {
		return nil, nil
	}
	codec, err := c.codec()
	if err != nil {
		return nil, err
	}
	s := &settings{Config: *c, codec: codec, encoded: encoded}
	s.Subjects = slices.Clone(c.Subjects)
	return s, nil
}

// decodeSettings reads the stored form, which it does not keep.
func decodeSettings(b []byte) (*settings, error) {
	if len(b) == 0 {
		return nil, nil
	}
	var c Config
	if err := json.Unmarshal(b, &c); err != nil {
		return nil, fmt.Errorf("decode channel settings: %w", err)
	}
	s, err := c.settle()
	if err != nil {
		return nil, fmt.Errorf("decode channel settings: %w", err)
	}
	return s, nil
}

func (s *settings) bytes() []byte {
	if s == nil {
		return nil
	}
	return s.encoded
}

// ValidateName says why name can't be a channel's, or nil. A name is 1 to 255
// bytes of tokens joined by dots, as in a NATS subject without wildcards:
// no empty token, no space or control character, no '*', '>' or '/'. The error
// wraps ErrChannelName.
func ValidateName(name string) error {
	switch {
	case name == "":
		return fmt.Errorf("%w: it is empty", ErrChannelName)
	case len(name) > record.ChannelNameBytesMax:
		return fmt.Errorf("%w: %d bytes, at most %d", ErrChannelName, len(name), record.ChannelNameBytesMax)
	case name[0] == '.' || name[len(name)-1] == '.' || strings.Contains(name, ".."):
		return fmt.Errorf("%w %q: empty token between dots", ErrChannelName, name)
	}
	for i := 0; i < len(name); i++ {
		if c := name[i]; c <= ' ' || c == 0x7f || c == '*' || c == '>' || c == '/' {
			return fmt.Errorf("%w %q: character %q is not allowed", ErrChannelName, name, c)
		}
	}
	return nil
}
