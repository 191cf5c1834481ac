package lab

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ginnel/ginnel/lab/vnet"
	"github.com/ginnel/ginnel/wire/control"
)

// Environment variables: a seed that replaces that of every Run, any text to have the
// programs' logs printed, and a file that gets every packet, to compare two runs.
const (
	seedVar  = "GINNEL_LAB_SEED"
	logVar   = "GINNEL_LAB_LOG"
	traceVar = "GINNEL_LAB_TRACE"
)

// World is an internet with one tailnet. Its methods are for the goroutine of the test.
type World struct {
	*testing.T
	*vnet.Network
	// Core is the internet: public addresses reach each other across it.
	Core *vnet.Segment
	// Server is the coordination server with its relay, at the middle of the internet.
	Server *Server
	// Dir is a directory for files of this world.
	Dir string

	seed          uint64
	serverLatency time.Duration
	logs          slog.Handler
	begin         time.Time
	relays        []*Relay
	sites         []*Site
	nodes         []*Node
	nextIP        netip.Addr
	nextIP6       int
	resolver      netip.Addr
	ended         sync.WaitGroup
	stop          context.CancelFunc
	ctx           context.Context
}

// Option changes how a world is made, before its server starts.
type Option func(*World)

// WithServerAt puts the server, and the relay inside it, at a distance from the middle of
// the internet: the latency of its line, one way.
func WithServerAt(latency time.Duration) Option {
	return func(w *World) { w.serverLatency = latency }
}

// Seed returns the seed of a run: that of the environment if there is one, else the
// given one.
func Seed(seed uint64) uint64 {
	if s, err := strconv.ParseUint(os.Getenv(seedVar), 10, 64); err == nil {
		return s
	}
	return seed
}

// Run makes a world, runs f in it, and ends it. Relays that f is to have from the start
// are made by options.
func Run(t *testing.T, seed uint64, f func(*World), options ...Option) {
	t.Helper()
	seed = Seed(seed)
	holdFinalizers()
	dir := tempDir(t)
	synctest.Test(t, func(t *testing.T) {
		w := &World{
			T: t, Network: vnet.New(seed), Dir: dir, seed: seed, begin: time.Now(),
			nextIP: netip.MustParseAddr("203.0.113.0"), logs: slog.DiscardHandler,
		}
		if os.Getenv(logVar) != "" {
			w.logs = slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug, ReplaceAttr: w.sinceBegin})
		}
		if name := os.Getenv(traceVar); name != "" {
			w.traceTo(name)
		}
		w.ctx, w.stop = context.WithCancel(context.Background())
		defer w.end()
		w.Core = w.Internet("internet")
		for _, o := range options {
			o(w)
		}
		w.startServer()
		f(w)
	})
}

// traceTo writes every packet to a file.
func (w *World) traceTo(name string) {
	f, err := os.Create(name)
	if err != nil {
		w.Fatal(err)
	}
	out := bufio.NewWriter(f)
	w.Tap(func(at time.Time, p *vnet.Packet) { fmt.Fprintln(out, at.Sub(w.begin), p) })
	w.Cleanup(func() {
		if err := errors.Join(out.Flush(), f.Close()); err != nil {
			w.Error(err)
		}
	})
}

// tempDir returns a directory for the time of the test, in memory if the machine has such a
// place: how long a disk takes decides in which order goroutines run.
func tempDir(t *testing.T) string {
	t.Helper()
	if dir, err := os.MkdirTemp("/dev/shm", "ginnel-lab-"); err == nil {
		t.Cleanup(func() {
			if err := os.RemoveAll(dir); err != nil {
				t.Error(err)
			}
		})
		return dir
	}
	return t.TempDir()
}

// sinceBegin makes the times of logs readable.
func (w *World) sinceBegin(_ []string, a slog.Attr) slog.Attr {
	if a.Key == slog.TimeKey {
		return slog.String("t", time.Since(w.begin).String())
	}
	return a
}

// logger returns the logger of a program.
func (w *World) logger(who string) *slog.Logger { return slog.New(w.logs).With("who", who) }

// end stops everything and, if the test failed, tells what is needed to look into it.
func (w *World) end() {
	if w.Failed() {
		w.Logf("this world: seed %d, at %v (replay with %s=%d); its last packets:\n%s", w.seed, w.Now(), seedVar, w.seed, w.Last(60))
	}
	var closing sync.WaitGroup
	for _, n := range w.nodes {
		closing.Go(n.stop)
	}
	closing.Wait()
	for _, r := range w.relays {
		r.Stop()
	}
	if w.Server != nil {
		w.Server.Stop()
	}
	w.stop()
	w.Network.Close()
	w.ended.Wait()
}

// Now returns the time since the world began.
func (w *World) Now() time.Duration { return time.Since(w.begin) }

// poll is how often Within looks.
const poll = time.Millisecond

// Within fails the test if ok does not become true within d. It returns how long that
// took, to the millisecond.
func (w *World) Within(d time.Duration, what string, ok func() bool) time.Duration {
	w.Helper()
	took, done := w.Await(d, ok)
	if !done {
		w.Fatalf("not within %v: %s", d, what)
	}
	return took
}

// Await waits until ok is true, at most d. It returns how long that took.
func (w *World) Await(d time.Duration, ok func() bool) (took time.Duration, done bool) {
	for start := time.Now(); ; {
		took = time.Since(start)
		if ok() {
			return took, true
		}
		if took >= d {
			return took, false
		}
		time.Sleep(poll)
	}
}

// AllUp reports whether every node is connected to the server and knows every other.
func (w *World) AllUp() bool {
	for _, n := range w.nodes {
		if !n.Up() || len(n.Map().Peers) < len(w.nodes)-1 {
			return false
		}
	}
	return true
}

// Nodes returns all nodes.
func (w *World) Nodes() []*Node { return w.nodes }

// public returns the next free public IPv4 address.
func (w *World) public() netip.Prefix {
	w.nextIP = w.nextIP.Next()
	return netip.PrefixFrom(w.nextIP, 32)
}

// file returns a path in the world's directory.
func (w *World) file(name string) string { return filepath.Join(w.Dir, name) }

// place puts a host at the middle of the internet, with both families.
func (w *World) place(name string, link vnet.Link) (*vnet.Host, netip.Addr, netip.Addr) {
	h := w.Host(name)
	v4 := w.public()
	w.nextIP6++
	v6 := netip.MustParsePrefix(fmt.Sprintf("2001:db8:0:%x::1/128", w.nextIP6))
	h.Plug(w.Core, link, v4, v6)
	return h, v4.Addr(), v6.Addr()
}

// ignoreEnd drops the errors of things that were stopped.
func ignoreEnd(err error) error {
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

// regions returns the relay map of the stand-alone relays.
func (w *World) regions() *control.DERPMap {
	m := &control.DERPMap{Regions: map[int]*control.DERPRegion{}}
	for _, r := range w.relays {
		m.Regions[r.Region] = r.region()
	}
	return m
}
