package lab

import (
	"encoding/binary"
	"net"
	"net/netip"
	"os"
	"runtime"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/ginnel/ginnel/node/path"
	"github.com/ginnel/ginnel/node/tun/tuntest"
	"github.com/ginnel/ginnel/node/tunnel"
	"github.com/ginnel/ginnel/wire/key"
)

// idle is what a quiet node cost in an hour.
type idle struct {
	cpu        time.Duration // of the whole process
	packets    uint64        // of the whole network
	goroutines int
}

// idleHour runs the path engine and the tunnel of a node with some peers that nobody talks
// to, for an hour of the virtual clock.
func idleHour(t *testing.T, peers int) (cost idle) {
	Replayable(t, 1)
	Run(t, 1, func(w *World) {
		site := w.Site("home", C3)
		host, _ := site.host("idle")
		e, err := path.New(path.Options{
			Logger: w.logger("idle"), BatchSize: batchSize, Dial: host.Dial, Lookup: host.Lookup,
			ListenPacket: func(network string, port uint16) (net.PacketConn, error) {
				return host.ListenUDP(network, netip.Addr{}, port)
			},
			Interfaces: (&Node{Host: host}).interfaces,
		})
		if err != nil {
			w.Fatal(err)
		}
		defer e.Close()
		tun, err := tunnel.New(tuntest.New(tunnelMTU, batchSize), e, w.logger("idle"))
		if err != nil {
			w.Fatal(err)
		}
		defer tun.Close()
		before := runtime.NumGoroutine()
		cfg := path.Config{PrivateKey: key.NewNode(), DERPMap: w.regions(), ControlConnected: true}
		tcfg := tunnel.Config{PrivateKey: cfg.PrivateKey}
		for i := range peers {
			raw := [32]byte{1: 1}
			binary.BigEndian.PutUint32(raw[4:], uint32(i+1))
			a := netip.AddrFrom4([4]byte{100, 64, byte(i >> 8), byte(i)})
			k := key.NodePublicFromRaw32(raw)
			cfg.Peers = append(cfg.Peers, path.Peer{
				Key: k, Disco: key.DiscoPublicFromRaw32(raw), HomeRegion: w.Relays()[0].Region,
				Endpoints: []netip.AddrPort{netip.AddrPortFrom(netip.AddrFrom4([4]byte{198, 18, byte(i >> 8), byte(i)}), 41641)},
			})
			tcfg.Peers = append(tcfg.Peers, tunnel.PeerConfig{Key: k, AllowedIPs: []netip.Prefix{netip.PrefixFrom(a, 32)}})
		}
		if err := e.Apply(cfg); err != nil {
			w.Fatal(err)
		}
		if err := tun.Apply(tcfg); err != nil {
			w.Fatal(err)
		}
		time.Sleep(time.Minute)
		runtime.GC()
		cost.goroutines = runtime.NumGoroutine() - before
		cpu, packets := cpuTime(w), count(w)
		time.Sleep(time.Hour)
		cost.cpu, cost.packets = cpuTime(w)-cpu, count(w)-packets
	}, WithRelay("near", 0))
	return cost
}

func count(w *World) uint64 {
	n, _ := w.Packets()
	return n
}

// cpuTime returns what the process has used.
func cpuTime(w *World) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		w.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// TestIdlePeers compares a node that has 10,000 peers with one that has one: nobody talks,
// so that they send the same. What either costs is shown; it is more than the node's own,
// since the server and the relay are in the same process.
func TestIdlePeers(t *testing.T) {
	n := 10_000
	if underRace {
		n = 1000
	}
	one, many := idleHour(t, 1), idleHour(t, n)
	share := func(c idle) string {
		return strconv.FormatFloat(100*c.cpu.Seconds()/time.Hour.Seconds(), 'f', 4, 64) + " % of a core"
	}
	t.Logf("1 peer: %s, %d packets; %d peers: %s, %d packets, %d goroutines more",
		share(one), one.packets, n, share(many), many.packets, many.goroutines-one.goroutines)
	if os.Getenv(barsVar) != "" {
		verdict := "PASS"
		if many.cpu > time.Hour/200 {
			verdict = "FAIL"
		}
		t.Logf("idle with 10,000 peers: %s, most 0.5 %%: %s", share(many), verdict)
	}
	if many.packets > one.packets+one.packets/50 {
		t.Errorf("with 10,000 idle peers %d packets were sent, with one %d", many.packets, one.packets)
	}
}
