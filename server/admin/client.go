package admin

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"strings"
	"syscall"

	"github.com/ginnel/ginnel/server/tailnet"
)

// unknownNode says that there is no such node.
func unknownNode(ref string) error {
	return fmt.Errorf("%w: %.100q is no node's number, name, address or key", tailnet.ErrNodeUnknown, ref)
}

// Client talks to a running server.
type Client struct {
	socket string
	http   *http.Client
}

// NewClient returns a client of the server behind the socket. It connects when
// it is used.
func NewClient(socket string) *Client {
	c := &Client{socket: socket}
	c.http = &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", socket)
		},
	}}
	return c
}

// Error is a refusal by the server.
type Error struct {
	Status int // of HTTP
	Text   string
}

// Error returns the text of the refusal.
func (e *Error) Error() string { return e.Text }

// IsNotFound reports whether err says that what a request named is not there.
func IsNotFound(err error) bool {
	var e *Error
	return errors.As(err, &e) && e.Status == http.StatusNotFound
}

// Get asks for path and decodes the answer into out, which may be nil.
func (c *Client) Get(ctx context.Context, path string, out any) error {
	return c.Do(ctx, http.MethodGet, path, nil, out)
}

// Do makes a request with in as its body, unless nil, and decodes the answer
// into out, unless nil. path elements are joined by Path.
func (c *Client) Do(ctx context.Context, method, path string, in, out any) error {
	resp, err := c.send(ctx, method, path, in)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if out == nil {
		return nil
	}
	if err := json.NewDecoder(resp.Body).Decode(out); err != nil {
		return fmt.Errorf("reading the server's answer to %s %s: %w", method, path, err)
	}
	return nil
}

// Backup copies the server's database to w.
func (c *Client) Backup(ctx context.Context, w io.Writer) (n int64, err error) {
	resp, err := c.send(ctx, http.MethodGet, "/v0/backup", nil)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	if n, err = io.Copy(w, resp.Body); err != nil {
		return n, fmt.Errorf("copying the backup: %w", err)
	}
	return n, nil
}

// Path joins path elements, each escaped.
func Path(elems ...string) string {
	var b strings.Builder
	b.WriteString("/v0")
	for _, e := range elems {
		b.WriteByte('/')
		b.WriteString(url.PathEscape(e))
	}
	return b.String()
}

func (c *Client) send(ctx context.Context, method, path string, in any) (*http.Response, error) {
	var payload io.Reader
	if in != nil {
		text, err := json.Marshal(in)
		if err != nil {
			return nil, err
		}
		payload = bytes.NewReader(text)
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://ginnel-server"+path, payload)
	if err != nil {
		return nil, err
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, c.explain(err)
	}
	if resp.StatusCode == http.StatusOK {
		return resp, nil
	}
	defer resp.Body.Close()
	var e errorBody
	if err := json.NewDecoder(io.LimitReader(resp.Body, 64<<10)).Decode(&e); err != nil || e.Error == "" {
		e.Error = "the server answered " + resp.Status
	}
	return nil, &Error{resp.StatusCode, e.Error}
}

// explain says what to do when the server cannot be reached.
func (c *Client) explain(err error) error {
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Errorf("no ginnel-server is running on %s: start it, or name its data directory with --data-dir", c.socket)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("not allowed to use %s: run this as root or as the user that ginnel-server runs as", c.socket)
	}
	var ue *url.Error
	if errors.As(err, &ue) {
		err = ue.Err
	}
	return fmt.Errorf("asking ginnel-server on %s: %w", c.socket, err)
}
