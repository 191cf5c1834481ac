package route

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
)

// journalVersion is written to the head of each journal.
const journalVersion = 1

// journalHead is the first line of a journal: where its changes were made.
// Routes and rules do not outlive the boot or the network namespace, so in any
// other one the journal means nothing.
type journalHead struct {
	Version int    `json:"version"`
	Boot    string `json:"boot"`
	NetNS   string `json:"netns"`
}

// journalEntry is any other line.
type journalEntry struct {
	// Op is "make" before an object is made, "gone" after it was removed.
	Op     string `json:"op"`
	Object object `json:"object"`
}

// Operations of journal entries.
const (
	opMake = "make"
	opGone = "gone"
)

// journal is an append-only file of the changes made to the system. What was
// appended is on disk when append returns.
type journal struct {
	path string
	file *os.File
	size int // entries written
}

// errDamaged is wrapped by the errors for a file that is no journal.
var errDamaged = errors.New("routing journal is damaged")

// createJournal makes a new, empty journal in place of any old one.
func createJournal(path string, head journalHead, live []object) (*journal, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("routing journal: %w", err)
	}
	tmp := path + ".new"
	file, err := os.OpenFile(tmp, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("routing journal: %w", err)
	}
	j := &journal{path: path, file: file}
	b, err := json.Marshal(head)
	if err == nil {
		_, err = file.Write(append(b, '\n'))
	}
	if err == nil {
		err = j.append(opMake, live...)
	}
	if err == nil {
		err = file.Sync()
	}
	if err == nil {
		err = os.Rename(tmp, path)
	}
	if err == nil {
		err = syncDir(filepath.Dir(path))
	}
	if err != nil {
		file.Close()
		os.Remove(tmp)
		return nil, fmt.Errorf("routing journal %s: %w", path, err)
	}
	return j, nil
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

// append writes one entry for each object, and returns when they are on disk.
func (j *journal) append(op string, objects ...object) error {
	if len(objects) == 0 {
		return nil
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	for _, o := range objects {
		if err := enc.Encode(journalEntry{op, o}); err != nil {
			return fmt.Errorf("routing journal: %w", err)
		}
	}
	if _, err := j.file.Write(b.Bytes()); err != nil {
		return fmt.Errorf("routing journal: %w", err)
	}
	if err := j.file.Sync(); err != nil {
		return fmt.Errorf("routing journal: %w", err)
	}
	j.size += len(objects)
	return nil
}

// close ends the use of the journal, and with remove deletes it.
func (j *journal) close(remove bool) error {
	err := j.file.Close()
	if remove {
		err = errors.Join(err, os.Remove(j.path))
	}
	return err
}

// readJournal returns the objects that may exist because of the journal, in the
// order in which they were made. A last line that is incomplete is ignored: its
// change was never begun. The error wraps fs.ErrNotExist if there is none.
func readJournal(path string) (head journalHead, live []object, err error) {
	f, err := os.Open(path)
	if err != nil {
		return head, nil, fmt.Errorf("routing journal: %w", err)
	}
	defer f.Close()
	r := bufio.NewReader(f)
	seen := map[object]bool{}
	for n := 1; ; n++ {
		line, err := r.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return head, nil, fmt.Errorf("routing journal %s: %w", path, err)
		}
		if n == 1 {
			if err := json.Unmarshal(line, &head); err != nil {
				return head, nil, fmt.Errorf("%w: %s: first line: %w", errDamaged, path, err)
			}
			if head.Version != journalVersion {
				return head, nil, fmt.Errorf("%w: %s: version %d is unknown", errDamaged, path, head.Version)
			}
			continue
		}
		// Each line stands for itself, so a damaged one loses no other.
		var e journalEntry
		if json.Unmarshal(line, &e) != nil {
			continue
		}
		switch e.Op {
		case opMake:
			if !seen[e.Object] {
				live = append(live, e.Object)
			}
			seen[e.Object] = true
		case opGone:
			if seen[e.Object] {
				live = slices.DeleteFunc(live, func(o object) bool { return o == e.Object })
			}
			delete(seen, e.Object)
		}
	}
	if head.Version == 0 {
		// Only the first line was being written: nothing was changed.
		return head, nil, fmt.Errorf("routing journal %s: %w", path, fs.ErrNotExist)
	}
	return head, live, nil
}
