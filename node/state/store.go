package state

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
)

// Memory is the store path that keeps everything in memory. A node that runs
// on it asks to be ephemeral.
const Memory = "mem:"

// maxFile bounds how much of a state file is read: far above what a node
// writes, far below what would hurt.
const maxFile = 64 << 20

// ErrInUse is in the chain of Open's error when another process has the state
// file open.
var ErrInUse = errors.New("state file is in use by another daemon")

// CorruptError says that a state file exists but cannot be understood. Nothing
// has been changed on disk when it is returned.
type CorruptError struct {
	Path string // the file that cannot be read
	Err  error  // what is wrong with it
}

// Error says which file is damaged and what can be done about it.
func (e *CorruptError) Error() string {
	return fmt.Sprintf("state file %s is damaged: %v; it holds this machine's identity, so it was left alone: "+
		"restore it from a backup, or move it away to join again as a new machine", e.Path, e.Err)
}

// Unwrap returns what is wrong with the file.
func (e *CorruptError) Unwrap() error { return e.Err }

// Store is a set of named byte strings that survives restarts. It is safe for
// concurrent use. Close it to let another process open the same file.
type Store struct {
	path string // "" for a memory store
	lock *fileLock

	mu     sync.Mutex
	values map[string][]byte // replaced entries are new slices, never edited
	closed bool
}

// Open opens the state file at path, making it (and its directory, mode 0700)
// when it does not exist, or returns a memory store when path is Memory. It
// fails with a *CorruptError when the file exists but is empty, truncated or
// otherwise not a state file, and with ErrInUse when another process has it.
func Open(path string) (*Store, error) {
	if path == Memory {
		return &Store{values: map[string][]byte{}}, nil
	}
	if scheme, _, found := strings.Cut(path, ":"); found && !strings.ContainsAny(scheme, `/\.`) && len(scheme) > 1 {
		return nil, fmt.Errorf("state store %q: only a file path or %q is supported", path, Memory)
	}
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("making state directory: %w", err)
	}
	lock, err := acquireLock(path + ".lock")
	if err != nil {
		return nil, fmt.Errorf("state file %s: %w", path, err)
	}
	s := &Store{path: path, lock: lock}
	err = removeLeftovers(path)
	if err == nil {
		err = s.load()
	}
	if err != nil {
		return nil, errors.Join(err, lock.release())
	}
	return s, nil
}

// load reads the file, or writes a fresh one to prove that it can be written.
func (s *Store) load() error {
	info, err := os.Stat(s.path)
	if errors.Is(err, fs.ErrNotExist) {
		s.values = map[string][]byte{}
		return s.flush(s.values)
	}
	if err != nil {
		return fmt.Errorf("state file: %w", err)
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("state file %s is not a regular file", s.path)
	}
	if info.Size() > maxFile {
		return &CorruptError{s.path, fmt.Errorf("it has %d bytes, more than any state", info.Size())}
	}
	data, err := os.ReadFile(s.path)
	if err != nil {
		return fmt.Errorf("state file: %w", err)
	}
	s.values, err = decode(data)
	if err != nil {
		return &CorruptError{s.path, err}
	}
	if info.Mode().Perm()&0o077 != 0 {
		if err := os.Chmod(s.path, 0o600); err != nil {
			return fmt.Errorf("state file is readable by others and cannot be closed to them: %w", err)
		}
	}
	return nil
}

// decode parses the bytes of a state file.
func decode(data []byte) (map[string][]byte, error) {
	if len(data) == 0 {
		return nil, errors.New("it is empty")
	}
	var values map[string][]byte
	if err := json.Unmarshal(data, &values); err != nil {
		return nil, fmt.Errorf("not a JSON object of base64 strings: %w", err)
	}
	if values == nil {
		return nil, errors.New("it holds null instead of an object")
	}
	return values, nil
}

// Ephemeral reports whether the store forgets everything at exit.
func (s *Store) Ephemeral() bool { return s.path == "" }

// Path returns the file behind the store, or Memory.
func (s *Store) Path() string {
	if s.path == "" {
		return Memory
	}
	return s.path
}

// Read returns a copy of the value of key and whether there is one.
func (s *Store) Read(key string) ([]byte, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	value, ok := s.values[key]
	return slices.Clone(value), ok
}

// Keys returns all keys in order.
func (s *Store) Keys() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Sorted(maps.Keys(s.values))
}

// Change is one edit of a Store. A nil Value deletes the key.
type Change struct {
	Key   string
	Value []byte
}

// Write makes all changes in one step: after a crash either all of them are on
// disk or none. It returns once they are safe there, and does not touch the
// disk when nothing differs.
func (s *Store) Write(changes ...Change) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return errors.New("state store is closed")
	}
	next := maps.Clone(s.values)
	changed := false
	for _, c := range changes {
		old, had := next[c.Key]
		switch {
		case c.Value == nil && had:
			delete(next, c.Key)
			changed = true
		case c.Value != nil && (!had || string(old) != string(c.Value)):
			next[c.Key] = slices.Clone(c.Value)
			changed = true
		}
	}
	if !changed {
		return nil
	}
	if err := s.flush(next); err != nil {
		return err
	}
	s.values = next
	return nil
}

// flush puts values on disk.
func (s *Store) flush(values map[string][]byte) error {
	if s.path == "" {
		return nil
	}
	data, err := json.MarshalIndent(values, "", "  ")
	if err != nil {
		return fmt.Errorf("encoding state: %w", err)
	}
	if err := writeFileAtomic(s.path, append(data, '\n')); err != nil {
		return fmt.Errorf("state file: %w", err)
	}
	return nil
}

// Close releases the file to other processes. Nothing is pending: every Write
// was on disk when it returned.
func (s *Store) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil
	}
	s.closed = true
	if s.lock == nil {
		return nil
	}
	return s.lock.release()
}
