package command

import (
	"bytes"
	"strings"
	"sync"
)

// waitBuffer is a buffer that tells when it has got a text.
type waitBuffer struct {
	want  string
	found chan struct{}

	mu  sync.Mutex
	buf bytes.Buffer
}

func newWaitBuffer(want string) *waitBuffer {
	return &waitBuffer{want: want, found: make(chan struct{})}
}

func (w *waitBuffer) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	had := strings.Contains(w.buf.String(), w.want)
	w.buf.Write(p)
	if !had && strings.Contains(w.buf.String(), w.want) {
		close(w.found)
	}
	return len(p), nil
}

func (w *waitBuffer) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.buf.String()
}
