package client

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
)

// ErrNotRunning is what errors.Is finds in a NotRunningError.
var ErrNotRunning = errors.New("ginneld is not running")

// ErrPeerNotFound is returned by WhoIs for an address nobody has.
var ErrPeerNotFound = errors.New("no peer has that address")

// NotRunningError says that nothing listens at the socket.
type NotRunningError struct {
	Socket string // its path
	PID    int    // of a daemon that runs but does not listen there, or zero
	Err    error  // of the connection attempt
}

// Error is the text shown to the user, with advice where systemd runs.
func (e *NotRunningError) Error() string {
	if e.PID != 0 {
		return fmt.Sprintf("failed to connect to local ginneld: one runs as process %d, but not at %s (%v); name its socket with --socket",
			e.PID, e.Socket, e.Err)
	}
	text := "failed to connect to local ginneld; it doesn't appear to be running"
	if info, err := os.Stat("/run/systemd/system"); err == nil && info.IsDir() {
		text += " (sudo systemctl start ginneld ?)"
	}
	return text
}

// Unwrap returns the error of the connection attempt.
func (e *NotRunningError) Unwrap() error { return e.Err }

// Is makes the error match ErrNotRunning.
func (e *NotRunningError) Is(target error) bool { return target == ErrNotRunning }

// AccessDeniedError says that this user may not do that. Text is the daemon's.
type AccessDeniedError struct {
	Text string
}

// Error holds the daemon's text.
func (e *AccessDeniedError) Error() string { return "access denied: " + e.Text }

// HTTPError is any other answer than success. Text is the body, or the error it
// holds when it is a JSON object with one.
type HTTPError struct {
	Status int
	Text   string
}

// Error is the daemon's text, or the status where it sent none.
func (e *HTTPError) Error() string {
	if e.Text != "" {
		return e.Text
	}
	return fmt.Sprintf("the daemon answered %d %s", e.Status, http.StatusText(e.Status))
}

// checkStatus returns the error of an answer that is not a success.
func checkStatus(resp *http.Response) error {
	if resp.StatusCode/100 == 2 {
		return nil
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxErrorBody))
	if err != nil {
		return fmt.Errorf("read the error of status %d: %w", resp.StatusCode, err)
	}
	text := errorText(body)
	if resp.StatusCode == http.StatusForbidden {
		return &AccessDeniedError{Text: text}
	}
	return &HTTPError{Status: resp.StatusCode, Text: text}
}

// errorText returns the error in the body of a failed request.
func errorText(body []byte) string {
	var inner struct{ Error string }
	if json.Unmarshal(body, &inner) == nil && inner.Error != "" {
		return inner.Error
	}
	return strings.TrimSpace(string(body))
}
