//go:build linux

package e2e

import (
	"crypto/rand"
	mathrand "math/rand/v2"
	"net/netip"
	"syscall"
	"testing"
	"time"

	"github.com/ginnel/ginnel/e2e/lab"
	"github.com/ginnel/ginnel/internal/netlab"
)

// A daemon may take stopNaps naps of stopNap to end after SIGTERM, together 3 s.
// They are counted one by one, so that a machine that stands still for a while,
// and the daemon with it, does not count.
const (
	stopNap  = 10 * time.Millisecond
	stopNaps = 300
)

// stopsAtOnce sends SIGTERM to the daemon and expects that it ends well and in
// time, having undone what it did to its machine. A daemon that hangs shows its
// goroutines. repair, which may be nil, mends what the test itself changed.
// It reports whether all was well.
func (n *node) stopsAtOnce(t *testing.T, machine string, repair func()) bool {
	t.Helper()
	began := time.Now()
	n.proc.Signal(syscall.SIGTERM)
	for nap := 0; nap < stopNaps && !n.proc.Ended(); nap++ {
		time.Sleep(stopNap)
	}
	if !n.proc.Ended() {
		n.proc.Signal(syscall.SIGQUIT) // shows the goroutines
		<-n.proc.Done()
		if repair != nil {
			repair()
		}
		t.Errorf("%s still ran %v after SIGTERM; what it did then:\n%s", n.host.Name, time.Since(began), n.proc.Log())
		return false
	}
	took := time.Since(began)
	if repair != nil {
		repair()
	}
	if code := n.proc.ExitCode(); code != 0 {
		t.Errorf("exit code %d after SIGTERM:\n%s", code, n.proc.Log())
		return false
	}
	if got := systemState(n.host); got != machine {
		t.Errorf("a stop that took %v left the machine changed.\nbefore:\n%s\nafter:\n%s", took, machine, got)
		return false
	}
	return true
}

// sendTraffic fills the tunnel from the machine to the address with datagrams
// until the returned function is called.
func sendTraffic(t *testing.T, from *lab.Host, to netip.Addr) (stop func()) {
	t.Helper()
	conn, err := from.DialContext(t.Context(), "udp", netip.AddrPortFrom(to, 9).String())
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		packet := make([]byte, 1200)
		rand.Read(packet)
		for {
			// Errors are no end: routes come and go, and nobody listens there.
			conn.Write(packet)
			if conn.SetWriteDeadline(time.Now().Add(time.Second)) != nil {
				return // closed
			}
			time.Sleep(200 * time.Microsecond) // leave the processor to others
		}
	}()
	return func() { conn.Close(); <-ended }
}

// TestStopUnderTraffic stops a node again and again, at any moment of its life,
// with packets flowing both ways.
func TestStopUnderTraffic(t *testing.T) {
	t.Parallel()
	const stops = 100
	n := newLAN(t)
	hostA := n.host("a", "11")
	machine := systemState(hostA)
	a := join(t, n.lab, n.server, hostA, n.key)
	b := join(t, n.lab, n.server, n.host("b", "12"), n.key)
	a.waitReach(b)
	t.Cleanup(sendTraffic(t, b.host, a.ip4))
	for i := range stops {
		if i%4 == 0 { // in full work
			a.waitState("Running")
			a.waitReach(b)
		} else { // anywhere on the way there
			time.Sleep(mathrand.N(200 * time.Millisecond))
		}
		stop := sendTraffic(t, hostA, b.ip4)
		time.Sleep(mathrand.N(50 * time.Millisecond))
		ok := a.stopsAtOnce(t, machine, nil)
		stop()
		if !ok {
			t.Fatalf("stop %d of %d", i+1, stops)
		}
		a.start()
	}
	a.waitReach(b)
}

// TestStopInTrouble stops a node while it waits for something that does not come.
func TestStopInTrouble(t *testing.T) {
	t.Parallel()
	const stops = 8 // of each kind
	n := newLAN(t)
	hostA := n.host("a", "11")
	machine := systemState(hostA)
	a := join(t, n.lab, n.server, hostA, n.key)
	b := join(t, n.lab, n.server, n.host("b", "12"), n.key)
	a.waitReach(b)
	if !a.stopsAtOnce(t, machine, nil) {
		return
	}
	cli := func(args ...string) func() {
		return func() { hostA.Start(nil, append([]string{program("ginnel"), "--socket", a.socket}, args...)...) }
	}
	router := n.server.host
	for _, c := range []struct {
		name          string
		before, after func() // around all, without the daemon
		trouble       func() // with the daemon running
		repair        func() // what the trouble broke, when the daemon has ended
	}{
		{name: "a client watches", trouble: cli("debug", "watch")},
		{name: "a ping waits", trouble: cli("ping", "-c", "0", "--until-direct=false", "100.64.99.99")},
		{name: "a network check runs", trouble: cli("netcheck")},
		{name: "the server answers nothing",
			before: func() { n.server.proc.Signal(syscall.SIGSTOP) }, after: func() { n.server.proc.Signal(syscall.SIGCONT) }},
		{name: "the server and the relay die", trouble: func() { n.server.proc.Kill() }, repair: n.server.start},
		{name: "the server and the relay are gone", before: func() { n.server.proc.Kill() }, after: n.server.start},
		{name: "packets vanish",
			trouble: func() {
				router.Apply(netlab.Rules{Name: "deaf", Body: "chain in { type filter hook input priority 0; policy drop; }"})
			},
			repair: func() { router.Must("nft", "delete", "table", "inet", "deaf") }},
		{name: "the link goes down",
			trouble: func() { hostA.Must("ip", "link", "set", "eth0", "down") }, repair: func() { n.relink(hostA, "11") }},
		// The last, since the node is logged out then.
		{name: "a login waits", trouble: cli("up", "--login-server", n.server.url, "--force-reauth")},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.before != nil {
				c.before()
			}
			for i := range stops {
				a.start()
				if i%2 == 0 && c.before == nil && c.name != "a login waits" {
					a.waitReach(b)
				}
				if c.trouble != nil {
					c.trouble()
				}
				time.Sleep(mathrand.N(300 * time.Millisecond))
				if !a.stopsAtOnce(t, machine, c.repair) {
					t.Fatalf("stop %d of %d", i+1, stops)
				}
			}
			if c.after != nil {
				c.after()
			}
		})
	}
}

// relink takes the link of a machine into service again as host had made it:
// taking it down lost routes and IPv6 addresses.
func (n *lan) relink(h *lab.Host, last string) {
	h.Must("ip", "link", "set", "eth0", "up")
	h.AddAddr("eth0", "fd09::"+last+"/64")
	h.DefaultRoute("10.9.0.1")
	if err := h.Settle("eth0"); err != nil {
		n.server.t.Fatal(err)
	}
}
