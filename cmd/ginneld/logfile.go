package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync"
)

// logFile is a log that stays within twice its limit: when the file is full it
// becomes FILE.1, in the place of the one before.
type logFile struct {
	path  string
	limit int64 // bytes

	mu   sync.Mutex
	file *os.File
	size int64
}

// openLogFile opens the file for appending.
func openLogFile(path string, limit int64) (*logFile, error) {
	l := &logFile{path: path, limit: limit}
	if err := l.open(); err != nil {
		return nil, fmt.Errorf("log file: %w", err)
	}
	return l, nil
}

func (l *logFile) open() error {
	f, err := os.OpenFile(l.path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	info, err := f.Stat()
	if err != nil {
		return errors.Join(err, f.Close())
	}
	l.file, l.size = f, info.Size()
	return nil
}

// Write appends one record, starting a new file first when this one is full. A
// record is never cut.
func (l *logFile) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.file == nil {
		return 0, fs.ErrClosed
	}
	if l.size > 0 && l.size+int64(len(p)) > l.limit {
		if err := l.rotate(); err != nil {
			return 0, err
		}
	}
	n, err := l.file.Write(p)
	l.size += int64(n)
	return n, err
}

// rotate makes the file the old one. When that fails the log goes on in the file
// it has.
func (l *logFile) rotate() error {
	if err := os.Rename(l.path, l.path+".1"); err != nil {
		l.size = 0 // try again only after as much again
		return nil
	}
	old := l.file
	if err := l.open(); err != nil {
		l.file = old
		return nil
	}
	return old.Close()
}

// Close closes the file.
func (l *logFile) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.file == nil {
		return nil
	}
	f := l.file
	l.file = nil
	return f.Close()
}
