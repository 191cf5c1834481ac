package server

import (
	"testing"
	"time"

	"github.com/ginnel/ginnel/relay/client"
	"github.com/ginnel/ginnel/server/tailnet"
	"github.com/ginnel/ginnel/wire/key"
)

// A node that may no longer use the relay loses its connection, not just the right
// to make a new one.
func TestRelayDropsNodesThatAreOut(t *testing.T) {
	s := run(t, testConfig(t))
	ctx := t.Context()
	by := tailnet.Actor{Kind: tailnet.ActorAdmin}
	_, secret, err := s.Tailnet().CreateAuthKey(ctx, by, tailnet.AuthKeyParams{UserID: 1, Reusable: true, Preauthorized: true})
	if err != nil {
		t.Fatal(err)
	}
	join := func(p tailnet.RegisterParams) *tailnet.Node {
		t.Helper()
		p.AuthKey = secret
		r, err := s.Tailnet().Register(ctx, p)
		if err != nil || r.Status != tailnet.Registered {
			t.Fatalf("register: %+v, %v", r, err)
		}
		return r.Node
	}
	connect := func(priv key.NodePrivate) *client.Conn {
		t.Helper()
		conn, err := client.Dial(ctx, client.Options{PrivateKey: priv, Region: s.DERPMap().Regions[DefaultRelayRegion]})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		return conn
	}
	closed := func(conn *client.Conn) <-chan struct{} {
		done := make(chan struct{})
		go func() {
			defer close(done)
			for {
				if _, err := conn.Recv(); err != nil {
					return
				}
			}
		}()
		return done
	}
	stayPriv := key.NewNode()
	join(tailnet.RegisterParams{Machine: key.NewMachine().Public(), NodeKey: stayPriv.Public()})
	stayed := closed(connect(stayPriv))
	for name, end := range map[string]func(*tailnet.Node) error{
		"deleted": func(n *tailnet.Node) error { return s.Tailnet().DeleteNode(ctx, by, n.ID) },
		"expired": func(n *tailnet.Node) error {
			_, err := s.Tailnet().ExpireNode(ctx, by, n.ID, time.Now())
			return err
		},
		"expires by itself": func(n *tailnet.Node) error {
			_, err := s.Tailnet().ExpireNode(ctx, by, n.ID, time.Now().Add(50*time.Millisecond))
			return err
		},
		"logged out": func(n *tailnet.Node) error {
			_, err := s.Tailnet().Register(ctx, tailnet.RegisterParams{Machine: n.Machine, NodeKey: n.Key, Expiry: time.Unix(1, 0)})
			return err
		},
		"has another key": func(n *tailnet.Node) error {
			join(tailnet.RegisterParams{Machine: n.Machine, NodeKey: key.NewNode().Public(), OldNodeKey: n.Key})
			return nil
		},
	} {
		priv := key.NewNode()
		n := join(tailnet.RegisterParams{Machine: key.NewMachine().Public(), NodeKey: priv.Public()})
		gone := closed(connect(priv))
		if _, err := s.Tailnet().RenameNode(ctx, by, n.ID, "x"); err != nil { // concerns no relay
			t.Fatal(err)
		}
		if err := end(n); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		select {
		case <-gone:
		case <-time.After(20 * time.Second):
			t.Errorf("a node that is %s stays on the relay", name)
		}
		if err := s.Tailnet().DeleteNode(ctx, by, n.ID); err != nil && name != "deleted" {
			t.Fatal(err)
		}
	}
	select {
	case <-stayed:
		t.Error("a node that is in was dropped from the relay")
	default:
	}
}
