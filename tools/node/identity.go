package node

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"

	"github.com/nats-io/nuid"

	"leat.dev/leat/segment/record"
	"leat.dev/leat/segment/vfs"
)

// formatVersion is that of the data directory as a whole.
const formatVersion = 1

// partitionsMax bounds what one node carries.
const partitionsMax = 256

// ErrForeign is returned when a data directory does not belong to the node that
// is started over it, or is none.
var ErrForeign = errors.New("data directory is not this node's")

// ErrVersion is returned when a data directory is in a format that this program
// does not read.
var ErrVersion = errors.New("data directory of another version")

// Identity is what a data directory says about itself, in the file NODE. Its
// text is one line of JSON and one with the CRC32C of the first, so that a
// person can read it and a flipped bit is noticed.
type Identity struct {
	Format     int    `json:"format"`
	NodeID     string `json:"node_id"`
	ClusterID  string `json:"cluster_id"`
	Partitions int    `json:"partitions"`
}

func (id *Identity) encode() ([]byte, error) {
	line, err := json.Marshal(id)
	if err != nil {
		return nil, fmt.Errorf("encode identity: %w", err)
	}
	return fmt.Appendf(nil, "%s\ncrc32c %08x\n", line, record.Checksum(line)), nil
}

func decodeIdentity(data []byte) (Identity, error) {
	var id Identity
	line, rest, _ := strings.Cut(string(data), "\n")
	var sum uint32
	if _, err := fmt.Sscanf(rest, "crc32c %08x\n", &sum); err != nil || sum != record.Checksum([]byte(line)) {
		return id, fmt.Errorf("%w: its checksum does not match, so the file is damaged or was edited", ErrForeign)
	}
	if err := json.Unmarshal([]byte(line), &id); err != nil {
		return id, fmt.Errorf("%w: %w", ErrForeign, err)
	}
	return id, nil
}

// identityBytesMax is far above what is written.
const identityBytesMax = 4096

// ReadIdentity reads a data directory's file NODE and changes nothing. The error
// is ErrForeign when the file is damaged, ErrVersion when the directory is one of
// another version, or that of a file that can't be read.
func ReadIdentity(files vfs.FS, dir string) (Identity, error) {
	name := filepath.Join(dir, "NODE")
	info, err := files.Stat(name)
	if err != nil {
		return Identity{}, fmt.Errorf("read identity: %w", err)
	}
	if info.SizeBytes > identityBytesMax {
		return Identity{}, fmt.Errorf("read %s: %w: it has %d bytes, want at most %d", name, ErrForeign, info.SizeBytes, identityBytesMax)
	}
	data, err := vfs.ReadFile(files, name)
	if err != nil {
		return Identity{}, fmt.Errorf("read identity: %w", err)
	}
	id, err := decodeIdentity(data)
	switch {
	case err != nil:
		return id, fmt.Errorf("read %s: %w", name, err)
	case id.Format != formatVersion:
		return id, fmt.Errorf("%w: %s has format %d, this program reads %d: use the version of leat that wrote it",
			ErrVersion, dir, id.Format, formatVersion)
	}
	return id, nil
}

// identify reads the directory's NODE file, or writes one when the directory is
// fresh, and compares it with what the options ask for.
func identify(files vfs.FS, dir string, o *Options) (Identity, error) {
	id, err := ReadIdentity(files, dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return found(files, dir, filepath.Join(dir, "NODE"), o)
	case err != nil:
		return id, err
	case o.NodeID != "" && o.NodeID != id.NodeID:
		return id, fmt.Errorf("%w: %s belongs to node %q, not to %q", ErrForeign, dir, id.NodeID, o.NodeID)
	case o.ClusterID != "" && o.ClusterID != id.ClusterID:
		return id, fmt.Errorf("%w: %s belongs to cluster %q, not to %q", ErrForeign, dir, id.ClusterID, o.ClusterID)
	case o.Partitions != 0 && o.Partitions != id.Partitions:
		return id, fmt.Errorf("%w: %s has %d partitions, not %d: their number is fixed when the directory is made",
			ErrForeign, dir, id.Partitions, o.Partitions)
	case id.Partitions < 1 || id.Partitions > partitionsMax:
		return id, fmt.Errorf("%w: %s has %d partitions, want 1 to %d", ErrForeign, dir, id.Partitions, partitionsMax)
	}
	return id, nil
}

// found makes the identity of a fresh directory.
func found(files vfs.FS, dir, name string, o *Options) (Identity, error) {
	names, err := files.List(dir)
	if err != nil {
		return Identity{}, fmt.Errorf("list data directory: %w", err)
	}
	for _, n := range names {
		// Without NODE there must be no data: it is written first.
		if strings.HasPrefix(n, "partition-") || n == "raft" || n == "index" {
			return Identity{}, fmt.Errorf("%w: %s holds %s but no file NODE; it is lost or the directory is another program's",
				ErrForeign, dir, n)
		}
	}
	id := Identity{Format: formatVersion, NodeID: o.NodeID, ClusterID: o.ClusterID, Partitions: o.Partitions}
	if id.NodeID == "" {
		id.NodeID = nuid.Next()
	}
	if id.ClusterID == "" {
		id.ClusterID = DefaultClusterID
	}
	if id.Partitions == 0 {
		id.Partitions = DefaultPartitions
	}
	data, err := id.encode()
	if err != nil {
		return id, err
	}
	if err := vfs.WriteFileAtomic(files, name, data); err != nil {
		return id, fmt.Errorf("write identity: %w", err)
	}
	return id, nil
}
