package interop

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/ginnel/ginnel/server/tailnet"
)

// TestOfficialNodes lets two official nodes meet on our server, through our
// relay and directly.
func TestOfficialNodes(t *testing.T) {
	for _, kind := range []pathKind{direct, relayed} {
		t.Run(string(kind), func(t *testing.T) {
			s := startServer(t)
			a := joinOfficial(t, s.URL(), authKey(t, s, tailnet.AuthKeyParams{}), "a", kind)
			b := joinOfficial(t, s.URL(), authKey(t, s, tailnet.AuthKeyParams{Ephemeral: true}), "b", kind)
			meet(t, a.member, b.member, kind)
		})
	}
}

// TestMixedOnOurServer lets an official node and ours meet on our server.
func TestMixedOnOurServer(t *testing.T) {
	for _, kind := range []pathKind{direct, relayed} {
		t.Run(string(kind), func(t *testing.T) {
			echoOnLoopback(t)
			s := startServer(t)
			theirs := joinOfficial(t, s.URL(), authKey(t, s, tailnet.AuthKeyParams{}), "theirs", kind)
			our := joinOurs(t, s.URL(), authKey(t, s, tailnet.AuthKeyParams{}), "ours")
			meet(t, theirs.member, our.member, kind)
		})
	}
}

// TestMixedOnTheirServer lets our node join the official test server, with the
// official relay.
func TestMixedOnTheirServer(t *testing.T) {
	for _, kind := range []pathKind{direct, relayed} {
		t.Run(string(kind), func(t *testing.T) {
			echoOnLoopback(t)
			c := startTheirServer(t, startTheirRelay(t, noMesh))
			theirs := joinOfficial(t, c.url, theirAuthKey, "theirs", kind)
			our := joinOurs(t, c.url, theirAuthKey, "ours")
			meet(t, theirs.member, our.member, kind)
		})
	}
}

// TestOursOnTheirServerWithOurRelay mixes the parts the other way round.
func TestOursOnTheirServerWithOurRelay(t *testing.T) {
	echoOnLoopback(t)
	c := startTheirServer(t, startOurRelay(t, noMesh))
	our := joinOurs(t, c.url, theirAuthKey, "ours")
	theirs := joinOfficial(t, c.url, theirAuthKey, "theirs", relayed)
	meet(t, theirs.member, our.member, relayed)
	// That must not depend on sockets that live only until the network changes.
	if changeNetwork(t) {
		eventually(t, "the official node opens its sockets anew", func() error {
			if !theirs.log.contains("Rebind;") {
				return errors.New("it has not")
			}
			return nil
		})
		theirs.waitPing(our.member, relayed)
	}
}

// TestPresence watches a node of each kind from a node of each kind as it goes
// offline, comes back and is removed.
func TestPresence(t *testing.T) {
	s := startServer(t)
	theirs := joinOfficial(t, s.URL(), authKey(t, s, tailnet.AuthKeyParams{}), "theirs", direct)
	our := joinOurs(t, s.URL(), authKey(t, s, tailnet.AuthKeyParams{}), "ours")
	goingTheirs := joinOfficial(t, s.URL(), authKey(t, s, tailnet.AuthKeyParams{}), "going-theirs", direct)
	goingOurs := joinOurs(t, s.URL(), authKey(t, s, tailnet.AuthKeyParams{}), "going-ours")
	online := func(going *member, want bool) {
		t.Helper()
		theirs.waitOnline(going, want)
		our.waitOnline(going, want)
	}
	online(goingTheirs.member, true)
	online(goingOurs.member, true)

	if _, err := goingOurs.cli("down"); err != nil {
		t.Fatal(err)
	}
	goingTheirs.node.Close()
	online(goingOurs.member, false)
	online(goingTheirs.member, false)
	if _, err := goingOurs.cli("up"); err != nil {
		t.Fatal(err)
	}
	goingTheirs.restart()
	online(goingOurs.member, true)
	online(goingTheirs.member, true)

	for _, going := range []*member{goingTheirs.member, goingOurs.member} {
		if err := s.Tailnet().DeleteNode(t.Context(), admin, nodeNamed(t, s, going.name).ID); err != nil {
			t.Fatal(err)
		}
		theirs.waitForgets(going)
		our.waitForgets(going)
		going.waitState("NeedsLogin")
	}
}

// TestOfficialBadKey gives an official node keys that must not let it in.
func TestOfficialBadKey(t *testing.T) {
	s := startServer(t)
	used := authKey(t, s, tailnet.AuthKeyParams{})
	joinOfficial(t, s.URL(), used, "first", direct)
	for name, key := range map[string]string{"used": used, "wrong": "gkey-auth-1-nothing"} {
		t.Run(name, func(t *testing.T) {
			o := newOfficial(t, s.URL(), key, "second")
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
			defer cancel()
			if _, err := o.node.Up(ctx); err == nil {
				t.Errorf("a node joined with a key that is %s", name)
			}
		})
	}
	if got := s.Tailnet().Snapshot().NodeCount(); got != 1 {
		t.Errorf("the server has %d nodes, want 1", got)
	}
}
