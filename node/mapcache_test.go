package node

import (
	"log/slog"
	"net/netip"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ginnel/ginnel/node/netmap"
	"github.com/ginnel/ginnel/node/state"
	"github.com/ginnel/ginnel/wire/control"
	"github.com/ginnel/ginnel/wire/key"
)

func TestMapCacheTiming(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, err := state.Open(filepath.Join(t.TempDir(), "state"))
		if err != nil {
			t.Fatal(err)
		}
		defer store.Close()
		c := newMapCache(store, slog.New(slog.DiscardHandler))
		base := mapOf(t)
		nodeKey := base.Self.Key
		name := func() string {
			synctest.Wait()
			cached, err := store.LoadMap("p", nodeKey)
			if err != nil || cached == nil {
				t.Fatalf("cached map %v, %v", cached, err)
			}
			return cached.Map.Domain
		}
		save := func(domain string, news bool) {
			m := *base
			m.Domain = domain
			c.save("p", nodeKey, &m, news)
		}
		expect := func(after time.Duration, want string) {
			t.Helper()
			time.Sleep(after)
			if got := name(); got != want {
				t.Errorf("on disk is %q, want %q", got, want)
			}
		}
		save("first", true)
		expect(0, "first")
		time.Sleep(time.Hour)
		save("news", true)
		expect(mapCacheDelay-1, "first")
		expect(1, "news")
		writes, last := 0, name() // a shower
		for range 60 {
			save(time.Now().String(), true)
			time.Sleep(time.Second)
			if got := name(); got != last {
				writes, last = writes+1, got
			}
		}
		if limit := int(time.Minute/mapCacheEvery) + 1; writes < 6 || writes > limit {
			t.Errorf("%d writes in a minute, want at most %d", writes, limit)
		}
		time.Sleep(time.Hour)
		save("who is online", false)
		expect(mapCacheDelay, last)
		save("news again", true) // does not wait for the slower one
		expect(mapCacheDelay, "news again")
		save("who is online", false)
		expect(mapCacheIdle, "who is online")
		save("at the end", false)
		c.close()
		expect(0, "at the end")
	})
}

func TestNewsForStart(t *testing.T) {
	seen, online := time.Now(), false
	for _, c := range []struct {
		what string
		edit func(*control.Node)
		want bool
	}{
		{"online", func(n *control.Node) { n.Online, n.LastSeen = &online, &seen }, false},
		{"node key", func(n *control.Node) { n.Key = key.NewNode().Public() }, true},
		{"disco key", func(n *control.Node) { n.DiscoKey = key.NewDisco().Public() }, true},
		{"home", func(n *control.Node) { n.HomeDERP = 9 }, true},
		{"endpoints", func(n *control.Node) { n.Endpoints = []netip.AddrPort{netip.MustParseAddrPort("192.0.2.9:9")} }, true},
	} {
		p := peer(2)
		q := *p
		c.edit(&q)
		if got := newsForStart(mapOf(t, p), mapOf(t, &q), netmap.Changes{Peers: []control.NodeID{2}}); got != c.want {
			t.Errorf("%s: %v", c.what, got)
		}
	}
	m := mapOf(t, peer(2))
	for what, got := range map[string]bool{
		"the first map": newsForStart(nil, m, netmap.Changes{}),
		"a new peer":    newsForStart(mapOf(t), m, netmap.Changes{Peers: []control.NodeID{2}}),
		"a peer gone":   newsForStart(m, mapOf(t), netmap.Changes{Removed: []control.NodeID{2}}),
		"the relays":    newsForStart(m, m, netmap.Changes{DERPMap: true}),
	} {
		if !got {
			t.Errorf("%s is no news", what)
		}
	}
}
