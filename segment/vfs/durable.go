package vfs

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"slices"
)

// tmpSuffix ends the name of a file that WriteFileAtomic has not finished. Such a file found at start is a left-over.
const tmpSuffix = ".tmp"

// WriteFileAtomic replaces the contents of a file, or makes it. After a crash the file holds either its old or its new
// contents, complete; when WriteFileAtomic has returned nil, the new ones. When it returns an error, either may be
// found after a restart.
//
// It goes by way of name + ".tmp", so two calls for one name must not run at once.
func WriteFileAtomic(fsys FS, name string, data []byte) error {
	tmp := name + tmpSuffix
	if err := fsys.Remove(tmp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("replace %s: remove left-over: %w", name, err)
	}
	if err := writeSynced(fsys, tmp, data); err != nil {
		// What is left behind is removed by the next call if not now, so a failure to do so adds nothing.
		_ = fsys.Remove(tmp)
		return fmt.Errorf("replace %s: %w", name, err)
	}
	if err := fsys.Rename(tmp, name); err != nil {
		_ = fsys.Remove(tmp)
		return fmt.Errorf("replace %s: %w", name, err)
	}
	if err := fsys.SyncDir(filepath.Dir(name)); err != nil {
		return fmt.Errorf("replace %s: renamed, perhaps not durable: %w", name, err)
	}
	return nil
}

func writeSynced(fsys FS, name string, data []byte) error {
	f, err := fsys.Create(name)
	if err != nil {
		return err
	}
	if _, err := f.WriteAt(data, 0); err != nil {
		return errors.Join(err, f.Close())
	}
	if err := f.Sync(); err != nil {
		return errors.Join(err, f.Close())
	}
	return f.Close()
}

// ReadFile returns the contents of a file. The caller bounds the size, by Stat, where the file is not its own.
func ReadFile(fsys FS, name string) (data []byte, err error) {
	f, err := fsys.Open(name)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	sizeBytes, err := f.Size()
	if err != nil {
		return nil, err
	}
	data = make([]byte, sizeBytes)
	n, err := f.ReadAt(data, 0)
	if n == len(data) {
		// A ReadAt that ends at the file's end may say so.
		return data, nil
	}
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return nil, fmt.Errorf("read %s: got %d bytes, want %d: %w", name, n, len(data), err)
}

// MkdirAllSync makes a directory and its missing parents, and all of them durable: it syncs the parent of each that it makes
// before it makes the next, and that of the deepest one which was there. A process that was killed between the two steps
// has left that one without a durable name, and everything in it would go with the name, synced or not.
//
// A directory that was there and whose parent may not be read is taken as it is: it was made by someone else.
func MkdirAllSync(fsys FS, dir string) error {
	dir = filepath.Clean(dir)
	var missing []string
	there := dir
	for ; there != filepath.Dir(there); there = filepath.Dir(there) {
		_, err := fsys.Stat(there)
		if err == nil {
			break
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("make directory %s: %w", dir, err)
		}
		missing = append(missing, there)
	}
	if err := fsys.SyncDir(filepath.Dir(there)); err != nil && !errors.Is(err, fs.ErrPermission) {
		return fmt.Errorf("make directory %s: sync the name of %s: %w", dir, there, err)
	}
	for _, d := range slices.Backward(missing) {
		if err := fsys.MkdirAll(d); err != nil {
			return fmt.Errorf("make directory %s: %w", dir, err)
		}
		if err := fsys.SyncDir(filepath.Dir(d)); err != nil {
			return fmt.Errorf("make directory %s: %w", dir, err)
		}
	}
	if len(missing) == 0 {
		return fsys.MkdirAll(dir) // which says so when it is a file
	}
	return nil
}
