package server

import (
	"context"
	"testing"

	"github.com/ginnel/ginnel/server/control/controltest"
)

// A server that is told to stop ends map streams and waiting logins, and a node
// finds the same server again afterwards.
func TestShutdownWithNodesConnected(t *testing.T) {
	c := testConfig(t)
	s, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	node := controltest.New(controltest.Options{URL: s.URL()})
	defer node.Close()
	if err := node.Join(t.Context(), secretOf(s.FirstJoin())); err != nil {
		t.Fatal(err)
	}
	stream, err := node.Poll(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	first, err := stream.Next()
	if err != nil || first.Node == nil || first.DERPMap == nil {
		t.Fatalf("first map %+v, %v", first, err)
	}
	waiting := controltest.New(controltest.Options{URL: s.URL()})
	defer waiting.Close()
	req := waiting.RegisterRequest()
	answer, err := waiting.Register(t.Context(), req)
	if err != nil || answer.AuthURL == "" {
		t.Fatalf("register: %+v, %v", answer, err)
	}
	followed := make(chan error, 1)
	go func() {
		req.Followup = answer.AuthURL
		_, err := waiting.Register(context.Background(), req)
		followed <- err
	}()
	cancel()
	if err := <-done; err != nil {
		t.Errorf("the server ended with: %v", err)
	}
	for err == nil {
		_, err = stream.Next()
	}
	if err := <-followed; err == nil {
		t.Error("a login was answered by a server that has ended")
	}

	c.Listen = []string{s.Addrs()[0].String()}
	again := run(t, c)
	if n := again.Tailnet().Snapshot().NodeByKey(node.Node.Public()); n == nil {
		t.Error("the node is lost")
	}
	stream, err = node.Poll(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if m, err := stream.Next(); err != nil || m.Node.ID != first.Node.ID || m.Node.Name != first.Node.Name {
		t.Errorf("after the restart: %+v, %v", m, err)
	}
	stream.Close()
}
