package vnet

import (
	"bytes"
	"errors"
	"fmt"
	"syscall"
	"testing"
	"time"
)

// TestBandwidthQueues has a burst meet a slow line: its packets arrive one after the
// other, and those for which the queue has no room never.
func TestBandwidthQueues(t *testing.T) {
	in(t, 1, func(w *world) {
		r, pc := w.home(FullCone)
		r.outer.SetLinks(func(out, _ *Link) { out.Bandwidth, out.Queue = 1_000_000, 20_000 })
		s, c := w.udp(w.server, "", 1000), w.udp(pc, "", 2000)
		body := bytes.Repeat([]byte("x"), 972) // 1000 bytes on the wire, 8 ms
		start := time.Now()
		for range 100 {
			w.send(c, addrPort("198.51.100.1:1000"), string(body))
		}
		var last time.Duration
		arrived := 0
		for {
			text, _ := w.recv(s)
			if text == "" {
				break
			}
			at := time.Since(start)
			if gap := at - last; arrived > 0 && (gap < 7900*time.Microsecond || gap > 8100*time.Microsecond) {
				w.Errorf("packet %d came %v after the one before", arrived, gap)
			}
			last = at
			arrived++
		}
		if arrived < 20 || arrived > 23 {
			w.Errorf("%d of 100 packets came through a queue of 20", arrived)
		}
	})
}

// TestAsymmetricLine has a line whose directions differ.
func TestAsymmetricLine(t *testing.T) {
	in(t, 1, func(w *world) {
		r, pc := w.home(FullCone)
		r.outer.SetLinks(func(out, in *Link) {
			*out, *in = Link{Latency: 100 * time.Millisecond}, Link{Latency: 5 * time.Millisecond, Loss: 1}
		})
		s, c := w.udp(w.server, "", 1000), w.udp(pc, "", 2000)
		start := time.Now()
		from := w.seen(c, s, addrPort("198.51.100.1:1000"))
		if d := time.Since(start); d < 100*time.Millisecond {
			w.Errorf("took %v", d)
		}
		w.send(s, from, "back")
		if text, _ := w.recv(c); text != "" {
			w.Error("came back through a line that loses everything")
		}
	})
}

// TestMappingsExhausted has more flows than a NAT has entries or ports for.
func TestMappingsExhausted(t *testing.T) {
	few := Symmetric
	few.First, few.Last = 5000, 5002
	entries := FullCone
	entries.Max = 3
	for name, kind := range map[string]NAT{"ports": few, "entries": entries} {
		t.Run(name, func(t *testing.T) {
			in(t, 1, func(w *world) {
				r, pc := w.home(kind)
				s := w.udp(w.server, "", 1000)
				got := 0
				var last *UDPConn
				for i := range 5 {
					last = w.udp(pc, "", uint16(2000+i))
					w.send(last, addrPort("198.51.100.1:1000"), "x")
					if text, _ := w.recv(s); text != "" {
						got++
					}
				}
				if _, exhausted := r.Mappings(); got != 3 || exhausted != 2 {
					w.Errorf("%d of 5 flows passed, %d found no place; want 3 and 2", got, exhausted)
				}
				time.Sleep(3 * time.Minute)
				w.seen(last, s, addrPort("198.51.100.1:1000")) // there is room again
			})
		})
	}
}

// TestBlackHole has a line too narrow for large packets, which says so or does not.
func TestBlackHole(t *testing.T) {
	for _, silent := range []bool{true, false} {
		t.Run(fmt.Sprint("silent ", silent), func(t *testing.T) {
			in(t, 1, func(w *world) {
				r, pc := w.home(FullCone)
				r.outer.SetLink(func(l *Link) { l.MTU, l.Silent = 1300, silent })
				s, c := w.udp(w.server, "", 1000), w.udp(pc, "", 2000)
				large := string(make([]byte, 1400))
				w.send(c, addrPort("198.51.100.1:1000"), large)
				if text, _ := w.recv(s); text != "" {
					w.Error("a large packet passed")
				}
				_, err := c.WriteToUDPAddrPort([]byte(large), addrPort("198.51.100.1:1000"))
				if told := errors.Is(err, syscall.EMSGSIZE); told == silent {
					w.Errorf("the second large packet: %v", err)
				}
				w.send(c, addrPort("198.51.100.1:1000"), "small")
				if text, _ := w.recv(s); text != "small" {
					w.Errorf("got %q", text)
				}
			})
		})
	}
}

// TestHostFirewall has a host let in only answers.
func TestHostFirewall(t *testing.T) {
	in(t, 1, func(w *world) {
		_, pc := w.home(FullCone)
		pc.Firewall(AddressAndPortDependent, 30*time.Second)
		s, other, c := w.udp(w.server, "", 1000), w.udp(w.server, "", 1001), w.udp(pc, "", 2000)
		from := w.seen(c, s, addrPort("198.51.100.1:1000"))
		w.send(s, from, "answer")
		if text, _ := w.recv(c); text != "answer" {
			w.Errorf("got %q", text)
		}
		w.send(other, from, "intruder")
		if text, _ := w.recv(c); text != "" {
			w.Errorf("%q passed the firewall", text)
		}
		time.Sleep(31 * time.Second)
		w.send(s, from, "late")
		if text, _ := w.recv(c); text != "" {
			w.Errorf("%q passed the firewall after the flow was forgotten\n%s", text, w.Last(5))
		}
	})
}

// TestRenumber has a router get another address: what was mapped is gone, and what is sent
// next comes from there.
func TestRenumber(t *testing.T) {
	in(t, 1, func(w *world) {
		r, pc := w.home(FullCone)
		s, c := w.udp(w.server, "", 1000), w.udp(pc, "", 2000)
		before := w.seen(c, s, addrPort("198.51.100.1:1000"))
		r.Renumber(addr("203.0.113.77"))
		w.send(s, before, "to nobody")
		if text, _ := w.recv(c); text != "" {
			w.Errorf("%q came to the old address", text)
		}
		if after := w.seen(c, s, addrPort("198.51.100.1:1000")); after.Addr() != addr("203.0.113.77") {
			w.Errorf("seen as %v", after)
		}
	})
}
