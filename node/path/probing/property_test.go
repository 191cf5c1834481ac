package probing

import (
	"encoding/binary"
	"net/netip"
	"testing"
	"time"

	"github.com/ginnel/ginnel/wire/disco"
)

// world feeds a machine events read from bytes and holds it to what must always be so.
type world struct {
	*driver
	data     []byte
	sent     map[disco.TxID]Action        // pings asked for
	answered map[netip.AddrPort]time.Time // last pong that we gave, by the address pinged
	probed   map[netip.AddrPort]time.Time // last ping, by address, since the last reset
	lastSend time.Time
}

// byte returns the next byte of input, 0 at the end.
func (w *world) byte() byte {
	if len(w.data) == 0 {
		return 0
	}
	b := w.data[0]
	w.data = w.data[1:]
	return b
}

// addr returns one of a few addresses, some of them not usable.
func (w *world) addr() netip.AddrPort {
	list := []netip.AddrPort{addrA, addrB, addrC, netip.MustParseAddrPort("10.0.0.1:1"), netip.MustParseAddrPort("127.0.0.1:9"),
		netip.MustParseAddrPort("[fe80::1]:1"), {}, netip.MustParseAddrPort("224.0.0.1:5")}
	return list[int(w.byte())%len(list)]
}

func (w *world) addrs() (list []netip.AddrPort) {
	for range w.byte() % 5 {
		list = append(list, w.addr())
	}
	return list
}

// step applies one event.
func (w *world) step() {
	switch w.byte() % 10 {
	case 0, 1:
		w.send()
		w.lastSend = w.now
	case 2:
		w.sleep(time.Duration(w.byte()) * 100 * time.Millisecond)
	case 3:
		_, w.acts = w.m.PingReceived(w.now, w.addr(), disco.TxID{w.byte()}, nil)
	case 4, 5:
		w.pong()
	case 6:
		clear(w.probed)
		w.callMeMaybe(w.addrs()...)
	case 7:
		cfg := Config{Endpoints: w.addrs(), Region: int(w.byte() % 3), Disco: w.byte()%8 != 0}
		w.acts = w.m.Configure(w.now, cfg, nil)
	case 8:
		clear(w.probed)
		w.acts = w.m.Rebound(w.now, nil)
		clear(w.answered)
	case 9:
		w.acts = w.m.UserPing(w.now, 0, nil)
		w.lastSend = w.now
	}
}

// pong answers some ping, known or not, from some address.
func (w *world) pong() {
	var id disco.TxID
	binary.BigEndian.PutUint64(id[:], uint64(w.byte()))
	ping, ok := w.sent[id]
	delete(w.sent, id)
	if ok && ping.Addr.IsValid() {
		w.answered[ping.Addr] = w.now
	}
	w.acts = w.m.PongReceived(w.now, id, w.addr(), nil)
}

// check holds after every event.
func (w *world) check() {
	for _, a := range w.acts {
		if a.Kind != SendPing {
			continue
		}
		if a.Addr.IsValid() && !Usable(a.Addr) {
			w.t.Fatalf("pinged %v", a.Addr)
		}
		if !a.Addr.IsValid() && a.Region == 0 {
			w.t.Fatal("a ping to nowhere")
		}
		w.sent[a.TxID] = a
	}
	if r := w.route(); r.Trusted(w.now) {
		at, ok := w.answered[r.Addr]
		if !ok || w.now.Sub(at) > TrustDuration {
			w.t.Fatalf("%v is trusted, last pong %v ago (%v)", r.Addr, w.now.Sub(at), ok)
		}
	}
	if d := w.m.Deadline(); !d.IsZero() && w.now.Sub(w.lastSend) > SessionActive+HeartbeatInterval+PingTimeout && d.Sub(w.now) > PingTimeout {
		w.t.Fatalf("an idle machine wants to tick in %v", d.Sub(w.now))
	}
	if n := len(w.m.Candidates()); n > 300 {
		w.t.Fatalf("%d candidates", n)
	}
}

// FuzzMachine runs arbitrary events. Whatever they are, the machine trusts only what
// answered, pings only what may be pinged, does not tick without end, and comes to rest
// when nobody sends.
func FuzzMachine(f *testing.F) {
	f.Add([]byte{0, 4, 1, 0, 2, 30, 4, 2, 1, 2, 100, 6, 3, 0, 1, 2})
	f.Add([]byte{3, 2, 1, 4, 1, 2, 0, 9, 2, 200, 2, 200, 8, 7, 2, 0, 1, 1, 0})
	f.Add([]byte{7, 4, 0, 1, 2, 3, 1, 1, 0, 4, 1, 0, 8, 2, 10, 4, 9, 9})
	f.Fuzz(func(t *testing.T, data []byte) {
		w := &world{driver: drive(t, 1, addrA), data: data, sent: map[disco.TxID]Action{},
			answered: map[netip.AddrPort]time.Time{}, probed: map[netip.AddrPort]time.Time{}, lastSend: start}
		for len(w.data) > 0 {
			w.step()
			w.check()
		}
		w.sleep(SessionActive + HeartbeatInterval + PingTimeout + time.Second)
		if d := w.m.Deadline(); !d.IsZero() {
			t.Fatalf("not at rest: deadline in %v", d.Sub(w.now))
		}
	})
}

// TestTwoMachines joins two machines by a network that can be cut: they find each other
// by a call-me-maybe through the relay, notice the cut within the trust time, and come
// back after it.
func TestTwoMachines(t *testing.T) {
	a, b := drive(t, 900), drive(t, 900)
	ends := map[*driver]netip.AddrPort{a: addrA, b: addrB}
	cut := false
	var carry func(from, to *driver)
	carry = func(from, to *driver) {
		acts := from.acts
		from.acts = nil
		for _, act := range acts {
			switch {
			case act.Kind == SendCallMeMaybe:
				to.callMeMaybe(ends[from])
				carry(to, from)
			case act.Kind == SendPing && act.Addr == ends[to] && !cut:
				var reply bool
				reply, to.acts = to.m.PingReceived(to.now, ends[from], act.TxID, nil)
				if carry(to, from); reply {
					from.acts = from.m.PongReceived(from.now, act.TxID, ends[to], nil)
					carry(from, to)
				}
			}
		}
	}
	run := func(by time.Duration) {
		for end := a.now.Add(by); a.now.Before(end); {
			a.send()
			carry(a, b)
			for _, d := range []*driver{a, b} {
				d.sleep(500 * time.Millisecond)
			}
			carry(a, b)
			carry(b, a)
		}
	}
	run(time.Second)
	if !a.trusted() || !b.trusted() {
		t.Fatalf("no direct path after the first packet: %+v and %+v", a.route(), b.route())
	}
	run(2 * time.Minute)
	if !a.trusted() {
		t.Fatal("lost a path that works")
	}
	cut = true
	if run(TrustDuration + 500*time.Millisecond); a.trusted() {
		t.Fatal("a dead path is trusted")
	}
	run(time.Minute)
	cut = false
	if run(CandidateGap + time.Second); !a.trusted() {
		t.Fatal("the path did not come back")
	}
}
