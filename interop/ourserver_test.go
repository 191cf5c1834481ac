package interop

import (
	"context"
	"log/slog"
	"testing"

	"github.com/ginnel/ginnel/server"
	"github.com/ginnel/ginnel/server/tailnet"
	"github.com/ginnel/ginnel/wire/control"
)

// startServer runs our server in the process until the test ends.
func startServer(t *testing.T) *server.Server {
	t.Helper()
	cfg := server.DefaultConfig()
	cfg.DataDir = t.TempDir()
	cfg.Listen = []string{"127.0.0.1:0"}
	cfg.STUN = "127.0.0.1:0"
	cfg.Logger = slog.New(slog.NewTextHandler(newLog(t, "our server"), &slog.HandlerOptions{Level: slog.LevelDebug}))
	s, err := server.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("server: %v", err)
		}
	})
	return s
}

var admin = tailnet.Actor{Kind: tailnet.ActorAdmin, Name: "test"}

// authKey makes a key for the server's first user.
func authKey(t *testing.T, s *server.Server, p tailnet.AuthKeyParams) string {
	t.Helper()
	if p.UserID == 0 {
		p.UserID = firstUser(t, s)
	}
	_, secret, err := s.Tailnet().CreateAuthKey(t.Context(), admin, p)
	if err != nil {
		t.Fatal(err)
	}
	return secret
}

func firstUser(t *testing.T, s *server.Server) control.UserID {
	t.Helper()
	for u := range s.Tailnet().Snapshot().Users(tailnet.DefaultTailnet) {
		return u.ID
	}
	u, err := s.Tailnet().CreateUser(t.Context(), admin, tailnet.DefaultTailnet, tailnet.UserParams{LoginName: "tester"})
	if err != nil {
		t.Fatal(err)
	}
	return u.ID
}

// nodeNamed returns a node of the server by its name.
func nodeNamed(t *testing.T, s *server.Server, name string) *tailnet.Node {
	t.Helper()
	n := s.Tailnet().Snapshot().NodeByName(tailnet.DefaultTailnet, name)
	if n == nil {
		t.Fatalf("the server has no node %q", name)
	}
	return n
}
