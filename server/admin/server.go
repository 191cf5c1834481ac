package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"time"

	"github.com/ginnel/ginnel/internal/httpcount"
	"github.com/ginnel/ginnel/server/tailnet"
	"github.com/ginnel/ginnel/wire/control"
)

// Config is what the interface works on.
type Config struct {
	Tailnet *tailnet.Service
	// Backup writes a copy of the database to a file that does not exist.
	Backup func(ctx context.Context, file string) error
	// ScratchDir is where a backup is put together before it is sent.
	ScratchDir string
	// Status fills in what only the server knows.
	Status func() Status
	// Bad, if not nil, is called for each connection that does not speak HTTP.
	Bad func()
	// Logger may be nil.
	Logger *slog.Logger
}

// Server answers the interface's requests.
type Server struct {
	cfg  Config
	http *http.Server
}

// maxBody bounds a request's body, in bytes.
const maxBody = 1 << 20

// NewServer returns a server that does not listen yet.
func NewServer(cfg Config) *Server {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	s := &Server{cfg: cfg}
	s.http = &http.Server{
		Handler:           s.routes(),
		ReadHeaderTimeout: 10 * time.Second,
		ErrorLog:          slog.NewLogLogger(cfg.Logger.Handler(), slog.LevelWarn),
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			return context.WithValue(ctx, uidKey{}, c.(*peerConn).uid)
		},
	}
	if cfg.Bad != nil {
		httpcount.Watch(s.http, cfg.Bad)
	}
	return s
}

// Serve answers on l until Close.
func (s *Server) Serve(l net.Listener) error {
	err := s.http.Serve(&peerListener{Listener: l, log: s.cfg.Logger})
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}

// Shutdown waits for requests under way until ctx ends.
func (s *Server) Shutdown(ctx context.Context) error { return s.http.Shutdown(ctx) }

type uidKey struct{}

// actor names the operating system user behind a request.
func actor(r *http.Request) tailnet.Actor {
	uid, _ := r.Context().Value(uidKey{}).(uint32)
	name := "uid " + strconv.FormatUint(uint64(uid), 10)
	if u, err := user.LookupId(strconv.FormatUint(uint64(uid), 10)); err == nil {
		name = u.Username
	}
	return tailnet.Actor{Kind: tailnet.ActorAdmin, Name: name}
}

// httpError is an error with the status to send it with.
type httpError struct {
	status int
	err    error
}

func (e *httpError) Error() string { return e.err.Error() }
func (e *httpError) Unwrap() error { return e.err }

func badRequest(format string, args ...any) error {
	return &httpError{http.StatusBadRequest, fmt.Errorf(format, args...)}
}

// handle makes a handler of a function that returns what to send as JSON.
func (s *Server) handle(fn func(r *http.Request) (any, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		r.Body = http.MaxBytesReader(w, r.Body, maxBody)
		v, err := fn(r)
		if err != nil {
			writeError(w, err)
			return
		}
		writeJSON(w, http.StatusOK, v)
	}
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	body, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		writeError(w, err)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	w.Write(append(body, '\n'))
}

// errorBody is the body of an answer that is not 200.
type errorBody struct {
	Error string `json:"error"`
}

func writeError(w http.ResponseWriter, err error) {
	status := http.StatusUnprocessableEntity
	var he *httpError
	switch {
	case errors.As(err, &he):
		status = he.status
	case errors.Is(err, tailnet.ErrNodeUnknown), errors.Is(err, tailnet.ErrUserUnknown),
		errors.Is(err, tailnet.ErrAuthKeyUnknown), errors.Is(err, tailnet.ErrLoginUnknown):
		status = http.StatusNotFound
	case errors.Is(err, tailnet.ErrClosed):
		status = http.StatusServiceUnavailable
	}
	writeJSON(w, status, errorBody{err.Error()})
}

// body decodes a request's JSON body. An empty body is the zero value.
func body[T any](r *http.Request) (v T, err error) {
	dec := json.NewDecoder(r.Body)
	dec.DisallowUnknownFields()
	if err := dec.Decode(&v); err != nil && !errors.Is(err, io.EOF) {
		return v, badRequest("request body: %w", err)
	}
	return v, nil
}

// scratchPattern names the directories in which backups are put together.
const scratchPattern = ".backup-*"

// RemoveLeftovers removes what a server that was killed in the middle of a backup
// has left in its scratch directory.
func RemoveLeftovers(scratchDir string) {
	left, _ := filepath.Glob(filepath.Join(scratchDir, scratchPattern))
	for _, dir := range left {
		os.RemoveAll(dir)
	}
}

// backup sends a copy of the database.
func (s *Server) backup(w http.ResponseWriter, r *http.Request) {
	dir, err := os.MkdirTemp(s.cfg.ScratchDir, scratchPattern)
	if err != nil {
		writeError(w, err)
		return
	}
	file := filepath.Join(dir, "ginnel.db")
	var f *os.File
	if err = s.cfg.Backup(r.Context(), file); err == nil {
		f, err = os.Open(file)
	}
	// The open file lives on without its name, and goes with the process.
	os.RemoveAll(dir)
	if err != nil {
		err = fmt.Errorf("backup: %w", err)
		writeError(w, err)
		return
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil {
		writeError(w, err)
		return
	}
	// The length lets the client see that all of it came.
	w.Header().Set("Content-Type", "application/vnd.sqlite3")
	w.Header().Set("Content-Length", strconv.FormatInt(fi.Size(), 10))
	if _, err := io.Copy(w, f); err != nil {
		s.cfg.Logger.Warn("sending a backup failed", "err", err)
	}
}

// findUser returns the user with that login name or ID. Empty picks the only
// user there is.
func findUser(s *tailnet.Snapshot, ref string) (*tailnet.User, error) {
	if ref == "" {
		var only *tailnet.User
		for u := range s.Users(tailnet.DefaultTailnet) {
			if only != nil {
				return nil, badRequest("there is more than one user: say which with --user")
			}
			only = u
		}
		if only == nil {
			return nil, badRequest("there is no user yet: make one with `ginnel-server users create`")
		}
		return only, nil
	}
	if u := s.UserByLogin(tailnet.DefaultTailnet, ref); u != nil {
		return u, nil
	}
	if id, err := strconv.ParseInt(ref, 10, 64); err == nil {
		if u := s.User(control.UserID(id)); u != nil {
			return u, nil
		}
	}
	return nil, fmt.Errorf("%w: %.100q", tailnet.ErrUserUnknown, ref)
}
