package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/ginnel/ginnel/wire/key"
)

// keyFile is the file of the relay's key. Its shape is that of other relays'
// configuration files: wire document relay, section 16.
type keyFile struct {
	PrivateKey key.NodePrivate
}

// loadKey reads the relay's key, or makes it and its file where there is none. A file
// that cannot be read as a key is an error and never replaced: it is the relay's
// identity.
func loadKey(path string) (key.NodePrivate, error) {
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return makeKey(path)
	}
	if err != nil {
		return key.NodePrivate{}, fmt.Errorf("relay key: %w", err)
	}
	var f keyFile
	if err := json.Unmarshal(text, &f); err != nil || f.PrivateKey.IsZero() {
		return key.NodePrivate{}, fmt.Errorf("relay key: %s holds no key; restore it from a backup, or remove it to start with a new identity", path)
	}
	return f.PrivateKey, nil
}

// makeKey writes a new key.
func makeKey(path string) (key.NodePrivate, error) {
	k := key.NewNode()
	text, err := json.Marshal(keyFile{k})
	if err != nil {
		return key.NodePrivate{}, fmt.Errorf("relay key: %w", err)
	}
	if err := writeNew(path, append(text, '\n')); err != nil {
		return key.NodePrivate{}, fmt.Errorf("relay key: %w", err)
	}
	return k, nil
}

// writeNew writes a file that only the owner can read, whole or not at all.
func writeNew(path string, data []byte) error {
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(dir, filepath.Base(path)+".*") // mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // nothing is there any more when all went well
	_, err = f.Write(data)
	err = errors.Join(err, f.Sync(), f.Close())
	if err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}

// loadMeshKey reads the mesh key, if there is a file for it.
func loadMeshKey(path string) (key.MeshKey, error) {
	if path == "" {
		return key.MeshKey{}, nil
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return key.MeshKey{}, fmt.Errorf("mesh key: %w", err)
	}
	k, err := key.ParseMeshKey(string(text))
	if err != nil {
		return key.MeshKey{}, fmt.Errorf("mesh key: %s: %w", path, err)
	}
	return k, nil
}
