package index

import (
	"errors"
	"fmt"
	"io"

	"github.com/cockroachdb/pebble/v2/record"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/atomicfs"
)

// checkManifest refuses a manifest of Pebble's that does not end where a record ends.
//
// Problem: Pebble takes the first record of its manifest that fails its checksum for an edit that was being written when
// the power went, and opens with the edits before it. When it was damage instead, the tables of the edits behind it are
// forgotten, and removed, while a newer log is replayed on top: `applied` would be ahead of effects, without any error.
// So an end that is not clean is damage here. A power cut in the middle of an edit, which is one small write per flush or
// compaction, then costs a rebuild that was not needed; wrong data would cost more.
func checkManifest(files vfs.FS, dir string) (err error) {
	name, err := atomicfs.ReadMarker(files, dir, "manifest")
	if err != nil || name == "" {
		return classify("read marker of manifest", err)
	}
	f, err := files.Open(files.PathJoin(dir, name))
	if err != nil {
		return classify("open manifest", err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	for edits := record.NewReader(f, 0); ; {
		edit, err := edits.Next()
		if err == nil {
			_, err = io.Copy(io.Discard, edit)
		} else if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return classify(fmt.Sprintf("read %s at byte %d", name, edits.Offset()), err)
		}
	}
}
