package lab

import (
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ginnel/ginnel/lab/vnet"
)

// pair makes two nodes with packets flowing both ways, directly if that is possible.
func pair(t *testing.T, seed uint64, a, b Kind, f func(w *World, x, y *Node, there, back *Stream), o ...Option) {
	t.Helper()
	t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
		t.Parallel()
		Run(t, seed, func(w *World) {
			x, y := w.Site("left", a).Node("alice"), w.Site("right", b).Node("bob")
			w.Within(10*time.Second, "both are up", w.AllUp)
			there, back := x.Stream(y, 20*time.Millisecond), y.Stream(x, 20*time.Millisecond)
			w.Await(2*time.Second, x.DirectTo(y))
			// Where in the rhythm of heartbeats and checks it happens must not matter.
			time.Sleep(10*time.Second + time.Duration(seed)*731*time.Millisecond)
			if n := there.Lost() + back.Lost(); n > 4 { // what is under way
				w.Errorf("%d packets were lost before anything happened", n)
			}
			f(w, x, y, there, back)
		}, o...)
	})
}

// silent fails the test if a stream was interrupted for longer than at most.
func silent(w *World, since time.Time, atMost time.Duration, streams ...*Stream) {
	w.Helper()
	for _, s := range streams {
		s.Stop()
		if d := s.Silence(since); d > atMost {
			w.Errorf("nothing arrived from %s at %s for %v, want at most %v", s.from.name, s.to.name, d, atMost)
		}
	}
}

// notForPeers matches UDP other than STUN and DNS.
func notForPeers(p *vnet.Packet) bool {
	return p.Proto == vnet.UDP && p.Dst.Port() != 3478 && p.Dst.Port() != 53
}

// TestDirectPathDies has every direct path vanish while data flows.
func TestDirectPathDies(t *testing.T) {
	for seed := range uint64(8) {
		pair(t, seed, C3, C3, func(w *World, x, y *Node, there, back *Stream) {
			died := time.Now()
			x.site.Block(false, notForPeers)
			y.site.Block(false, notForPeers)
			time.Sleep(10 * time.Second)
			x.site.Block(false, nil)
			y.site.Block(false, nil)
			silent(w, died, 2*time.Second, there, back)
			w.Within(10*time.Second, "direct again", func() bool {
				return x.Reaches(y)() && x.Direct(y).IsValid()
			})
		})
	}
}

// TestOneWayDies has packets vanish in one direction only.
func TestOneWayDies(t *testing.T) {
	for seed := range uint64(4) {
		pair(t, seed, C3, C3, func(w *World, x, y *Node, there, back *Stream) {
			died := time.Now()
			x.site.Block(false, notForPeers)
			time.Sleep(15 * time.Second)
			silent(w, died, 5*time.Second, there, back)
		})
	}
}

// TestRoaming has a node go to another network, whose addresses look just the same.
func TestRoaming(t *testing.T) {
	for seed := range uint64(8) {
		pair(t, seed, C3, C3, func(w *World, x, y *Node, there, back *Stream) {
			cafe := w.Site("cafe", C3)
			left := time.Now()
			x.Roam(cafe)
			time.Sleep(5 * time.Second)
			silent(w, left, time.Second, there, back)
			if at := y.Direct(x); at.Addr() != cafe.Uplink.Addr(true) {
				w.Errorf("reached at %v, want the cafe's %v", at, cafe.Uplink.Addr(true))
			}
		})
	}
}

// TestHomeRelayLost has the nearest relay die while it carries everything.
func TestHomeRelayLost(t *testing.T) {
	for seed := range uint64(4) {
		pair(t, seed, U, U, func(w *World, x, y *Node, there, back *Stream) {
			if home := x.Status(true).Self.Relay; home != "near" {
				w.Fatalf("at home on %s, want near", home)
			}
			died := time.Now()
			w.Relays()[0].Crash()
			time.Sleep(10 * time.Second)
			silent(w, died, 5*time.Second, there, back)
		}, WithServerAt(15*time.Millisecond), WithRelay("near", 0), WithRelay("far", 30*time.Millisecond))
	}
}

// TestHomeRelayRestarts has the relay that is home to both nodes go and come back
// unnoticed while nobody sends anything: the connections to it are dead then, and none of
// the nodes could be reached.
func TestHomeRelayRestarts(t *testing.T) {
	Run(t, 1, func(w *World) {
		x, y := w.Site("left", H).Node("alice"), w.Site("right", H).Node("bob")
		w.Within(10*time.Second, "both are up", w.AllUp)
		w.Within(10*time.Second, "both are at home", func() bool {
			return x.Status(true).Self.Relay == "near" && y.Status(true).Self.Relay == "near"
		})
		time.Sleep(10 * time.Second)
		w.Relays()[0].Crash()
		time.Sleep(5 * time.Second)
		w.Relays()[0].Start()
		time.Sleep(45 * time.Second)
		w.Within(time.Second, "bob is reached", x.Reaches(y))
	}, WithServerAt(15*time.Millisecond), WithRelay("near", 0))
}

// TestServerAway has the server, with the only relay, die and come back: what is direct
// stays as it is, and a node that starts meanwhile finds its peers.
func TestServerAway(t *testing.T) {
	for seed := range uint64(3) {
		pair(t, seed, C3, C3, func(w *World, x, y *Node, there, back *Stream) {
			died := time.Now()
			w.Server.Crash()
			time.Sleep(time.Minute)
			w.Server.Start()
			w.Within(time.Minute, "the server knows that both are there", func() bool {
				return x.Up() && y.Up() && online(x) && online(y)
			})
			silent(w, died, 100*time.Millisecond, there, back)
		})
	}
}

// TestNATForgets has a home router reboot and so forget all mappings.
func TestNATForgets(t *testing.T) {
	for seed := range uint64(4) {
		pair(t, seed, H, C1, func(w *World, x, y *Node, there, back *Stream) {
			died := time.Now()
			x.site.Reboot()
			time.Sleep(10 * time.Second)
			silent(w, died, 2*time.Second, there, back)
			w.Within(10*time.Second, "direct again", x.DirectTo(y))
		})
	}
}

// TestLossyLine has a line that loses a tenth of everything: the path must not be given up
// for it.
func TestLossyLine(t *testing.T) {
	for seed := range uint64(4) {
		pair(t, seed, C3, C3, func(w *World, x, y *Node, there, back *Stream) {
			x.site.Uplink.SetLink(func(l *vnet.Link) { l.Loss, l.Jitter = 0.1, 10*time.Millisecond })
			began := time.Now()
			direct := 0
			for range 60 {
				time.Sleep(time.Second)
				if x.Direct(y).IsValid() {
					direct++
				}
			}
			if direct < 50 {
				w.Errorf("direct in %d of 60 seconds", direct)
			}
			silent(w, began, time.Second, there, back)
		})
	}
}

// online reports whether the server told the node that its only peer is online.
func online(n *Node) bool {
	peer := n.Map().Peers[0]
	return peer.Online != nil && *peer.Online
}

// TestQuietConnectionsLast has two nodes that talk now and then: nobody needs to connect to
// the relay or the server anew.
func TestQuietConnectionsLast(t *testing.T) {
	pair(t, 1, C3, C3, func(w *World, x, y *Node, there, back *Stream) {
		there.Stop()
		back.Stop()
		var begun atomic.Int32
		w.Tap(func(_ time.Time, p *vnet.Packet) {
			if p.Begins() {
				begun.Add(1)
			}
		})
		for range 12 {
			time.Sleep(5 * time.Minute)
			if _, err := x.Ping(y, time.Second); err != nil {
				w.Errorf("at %v: %v", w.Now(), err)
			}
		}
		w.Tap(nil)
		if n := begun.Load(); n != 0 {
			w.Errorf("TCP connections were begun: %d packets in an hour", n)
		}
	})
}
