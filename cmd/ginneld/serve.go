package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/ginnel/ginnel/internal/version"
	"github.com/ginnel/ginnel/node"
	"github.com/ginnel/ginnel/node/local"
	"github.com/ginnel/ginnel/node/local/api"
	"github.com/ginnel/ginnel/node/route"
	"github.com/ginnel/ginnel/node/state"
)

// serve runs the daemon until ctx ends.
func serve(ctx context.Context, o *options, getenv func(string) string, stderr io.Writer) error {
	logger, closeLog, err := newLogger(o, getenv, stderr)
	if err != nil {
		return err
	}
	defer closeLog()
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	defer boundStop(ctx, stopLimit, logger, os.Exit)()
	if err := prepareDirs(o); err != nil {
		return err
	}
	listener, err := local.Listen(o.socket)
	if err != nil {
		return err
	}
	defer listener.Close()
	n, err := node.New(node.Options{
		StatePath: o.statePath, StateDir: o.stateDir, TUN: o.tun, Port: o.port,
		SOCKS5Addr: o.socks5, HTTPProxyAddr: o.httpProxy, Version: version.Long(), Logger: logger,
		Proxy: http.ProxyFromEnvironment,
	})
	if err != nil {
		return err
	}
	logger.Info("started", "version", version.Long(), "socket", o.socket, "state", o.statePath, "tun", o.tun)
	err = serveNode(ctx, o, n, listener, logger, newNotifier(getenv))
	stop() // if it was not that
	logger.Info("stopping")
	return errors.Join(err, n.Close())
}

// serveNode serves the local API, and what else is asked for, until ctx ends or
// one of them fails.
func serveNode(ctx context.Context, o *options, n *node.Node, listener net.Listener, logger *slog.Logger, notify *notifier) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	server := local.New(n, logger.With("part", "localapi"))
	ended := make(chan error, 2)
	running := 1
	go func() { ended <- server.Serve(ctx, listener) }()
	if o.debugAddr != "" {
		l, err := net.Listen("tcp", o.debugAddr)
		if err != nil {
			return fmt.Errorf("--debug cannot listen on %s: %w", o.debugAddr, err)
		}
		running++
		go func() { ended <- serveDebug(ctx, l, n) }()
	}
	notify.send("READY=1")
	go notify.follow(ctx, n)
	var err error
	for range running {
		err = errors.Join(err, <-ended)
		cancel(nil)
	}
	notify.send("STOPPING=1")
	return err
}

// prepareDirs makes the directories that the daemon writes to.
func prepareDirs(o *options) error {
	if o.stateDir == "" {
		return nil
	}
	if err := os.MkdirAll(o.stateDir, 0o700); err != nil {
		return fmt.Errorf("state directory: %w; choose another with --statedir", err)
	}
	probe, err := os.CreateTemp(o.stateDir, ".write-test-*")
	if err != nil {
		return fmt.Errorf("state directory %s cannot be written to: %w; run as root, or choose another with --statedir", o.stateDir, err)
	}
	return errors.Join(probe.Close(), os.Remove(probe.Name()))
}

// cleanUp undoes what a crashed daemon did to the system.
func cleanUp(o *options, stderr io.Writer) error {
	logger := slog.New(slog.NewTextHandler(stderr, nil))
	if o.stateDir == "" {
		return nil
	}
	// A daemon that lives still needs what it did.
	if _, err := os.Stat(o.statePath); err == nil && o.statePath != state.Memory {
		s, err := state.Open(o.statePath)
		if errors.Is(err, state.ErrInUse) {
			return errors.New("a daemon is running with this state; stop it instead")
		}
		if err == nil {
			defer s.Close()
		}
	}
	return route.Cleanup(node.JournalPath(o.stateDir), logger)
}

// serveDebug serves metrics and profiles for people who look into the daemon.
func serveDebug(ctx context.Context, l net.Listener, n *node.Node) error {
	srv := &http.Server{Handler: debugHandler(n), ReadHeaderTimeout: 10 * time.Second}
	stop := context.AfterFunc(ctx, func() { srv.Close() })
	defer stop()
	if err := srv.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("debug server: %w", err)
	}
	return nil
}

// statusText is what systemd shows of the daemon.
func statusText(st *api.Status) string {
	switch st.BackendState {
	case api.NeedsLogin.String():
		if st.AuthURL != "" {
			return "Needs login: " + st.AuthURL
		}
		return "Needs login; run 'ginnel up'"
	case api.Stopped.String():
		return "Stopped; run 'ginnel up' to connect"
	case api.Running.String():
		login := ""
		if st.Self != nil {
			login = st.User[st.Self.UserID].LoginName
		}
		return fmt.Sprintf("Connected; %s; %v", login, st.TailscaleIPs)
	}
	return st.BackendState
}

// newLogger returns the daemon's logger and what closes it. Under systemd the
// journal adds the time itself.
func newLogger(o *options, getenv func(string) string, stderr io.Writer) (*slog.Logger, func(), error) {
	handler := slog.HandlerOptions{Level: slog.LevelInfo}
	if o.verbose > 0 {
		handler.Level = slog.LevelDebug
	}
	if o.logFile != "" {
		f, err := openLogFile(o.logFile, o.logFileSize)
		if err != nil {
			return nil, nil, err
		}
		return slog.New(slog.NewTextHandler(f, &handler)), func() { f.Close() }, nil
	}
	if getenv("JOURNAL_STREAM") != "" {
		handler.ReplaceAttr = func(groups []string, a slog.Attr) slog.Attr {
			if len(groups) == 0 && a.Key == slog.TimeKey {
				return slog.Attr{}
			}
			return a
		}
	}
	return slog.New(slog.NewTextHandler(stderr, &handler)), func() {}, nil
}
