package main

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"sync/atomic"
	"time"

	"github.com/peterbourgon/ff/v3/ffcli"
	"golang.org/x/sync/errgroup"

	"github.com/ginnel/ginnel/internal/cli"
	"github.com/ginnel/ginnel/relay/client"
	"github.com/ginnel/ginnel/wire/key"
	wire "github.com/ginnel/ginnel/wire/relay"
)

// relayConfig is the command line of relay.
type relayConfig struct {
	url, certName string
	insecure      bool
	pairs         int
	size, batch   int
	window        int
	duration      time.Duration
	idle          time.Duration
	count         int64
	pid           int
}

// relayResult is what relay prints.
type relayResult struct {
	URL        string  `json:"url"`
	Pairs      int     `json:"pairs"`
	PacketSize int     `json:"packet_bytes"`
	Window     int     `json:"window_packets"`
	Seconds    float64 `json:"seconds"`

	Gbps             float64 `json:"gbit_per_s"`
	PacketsPerSecond float64 `json:"packets_per_s"`
	Sent             int64   `json:"sent_packets"`
	Received         int64   `json:"received_packets"`
	LossPercent      float64 `json:"loss_percent"`

	// CPU time for each gigabyte (10^9 bytes) of packets delivered.
	RelayCPUPerGB     float64 `json:"relay_cpu_s_per_gb,omitempty"`
	GeneratorCPUPerGB float64 `json:"generator_cpu_s_per_gb"`
	RelayRSSBytes     int64   `json:"relay_rss_bytes,omitempty"`

	IdleRoundTrip latency `json:"idle_round_trip"` // one packet at a time, there and back
	LoadedOneWay  latency `json:"loaded_one_way"`  // in the measured load
}

// relayCommand is the subcommand.
func relayCommand(stdout io.Writer) *ffcli.Command {
	c := &relayConfig{}
	fs := newFlags("relay")
	c.define(fs)
	return loadCommand("relay", "--url https://host[:port]", "Send packets between pairs of clients through a relay (DERP)", fs, stdout, c.check,
		func(ctx context.Context) (result, error) { return benchRelay(ctx, c) })
}

// define names the flags.
func (c *relayConfig) define(fs *flag.FlagSet) {
	fs.StringVar(&c.url, "url", "", "`URL` of the relay, https or http")
	fs.StringVar(&c.certName, "cert-name", "", "name or sha256-raw: `pin` of the relay's certificate, if not the URL's host")
	fs.BoolVar(&c.insecure, "insecure", false, "verify no certificate")
	fs.IntVar(&c.pairs, "pairs", 1, "`pairs` of clients, one sending to the other")
	fs.IntVar(&c.size, "size", 1300, "`bytes` in a packet")
	fs.IntVar(&c.batch, "batch", 32, "`packets` handed to a client's connection at once")
	fs.IntVar(&c.window, "window", 256, "`packets` of a pair under way at most")
	fs.DurationVar(&c.duration, "duration", 10*time.Second, "how long to send")
	fs.DurationVar(&c.idle, "idle-duration", 2*time.Second, "how long to measure the round trip without load, before that; 0 to leave it out")
	fs.Int64Var(&c.count, "count", 0, "`packets` after which a pair stops early; 0 for any number")
	fs.IntVar(&c.pid, "pid", 0, "process `number` of the relay, on this machine, to measure its CPU time")
}

// check finds what is wrong with the flags.
func (c *relayConfig) check() error {
	switch {
	case c.url == "":
		return cli.Usagef("--url is needed")
	case c.pairs < 1 || c.batch < 1 || c.window < 1 || c.duration <= 0 || c.idle < 0 || c.count < 0:
		return cli.Usagef("--pairs, --batch, --window and --duration must be above 0")
	case c.size < stampLen || c.size > wire.MaxPacketData:
		return cli.Usagef("--size must be from %d to %d", stampLen, wire.MaxPacketData)
	}
	return nil
}

// options are those of one client.
func (c *relayConfig) options(priv key.NodePrivate) client.Options {
	o := client.Options{PrivateKey: priv, URL: c.url, CertName: c.certName, CanAckPings: true, AppName: "ginnel-bench"}
	if c.insecure {
		o.TLSConfig = &tls.Config{InsecureSkipVerify: true}
	}
	return o
}

// benchRelay runs the measurement.
func benchRelay(ctx context.Context, c *relayConfig) (*relayResult, error) {
	target, err := openProcess(c.pid)
	if err != nil {
		return nil, err
	}
	pairs, err := connectPairs(ctx, c)
	defer func() {
		for _, p := range pairs {
			p.close()
		}
	}()
	if err != nil {
		return nil, err
	}
	res := &relayResult{URL: c.url, Pairs: c.pairs, PacketSize: c.size, Window: c.window}
	if c.idle > 0 {
		if res.IdleRoundTrip, err = measureIdle(ctx, c, pairs[0]); err != nil {
			return nil, fmt.Errorf("round trip: %w", err)
		}
	}
	return res, measureLoad(ctx, c, pairs, target, res)
}

// connectPairs connects all clients.
func connectPairs(ctx context.Context, c *relayConfig) ([]*pair, error) {
	pairs := make([]*pair, c.pairs)
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(16)
	for i := range pairs {
		g.Go(func() (err error) {
			pairs[i], err = newPair(ctx, c)
			return err
		})
	}
	err := g.Wait()
	out := pairs[:0]
	for _, p := range pairs {
		if p != nil {
			out = append(out, p)
		}
	}
	return out, err
}

// measureLoad sends as fast as the window lets it and fills in the result.
func measureLoad(ctx context.Context, c *relayConfig, pairs []*pair, target *process, res *relayResult) error {
	m, err := startMeter(target)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, c.duration)
	defer cancel()
	start := time.Now()
	var stop atomic.Bool
	context.AfterFunc(ctx, func() { stop.Store(true) })
	g := new(errgroup.Group)
	for _, p := range pairs {
		g.Go(func() error { return p.run(c, &stop) })
	}
	if err := g.Wait(); err != nil {
		return err
	}
	res.Seconds = time.Since(start).Seconds()
	own, theirs, err := m.stop()
	if err != nil {
		return err
	}
	var delays []time.Duration
	for _, p := range pairs {
		res.Sent += p.sent
		res.Received += p.received.Load()
		delays = append(delays, p.delays.ds...)
	}
	if res.Received == 0 {
		return errors.New("the relay delivered nothing")
	}
	bytes := float64(res.Received) * float64(c.size)
	res.Gbps = bytes * 8 / 1e9 / res.Seconds
	res.PacketsPerSecond = float64(res.Received) / res.Seconds
	res.LossPercent = 100 * float64(res.Sent-res.Received) / float64(res.Sent)
	res.GeneratorCPUPerGB = own / (bytes / 1e9)
	res.LoadedOneWay = summarise(delays)
	if target != nil {
		res.RelayCPUPerGB = theirs / (bytes / 1e9)
		if res.RelayRSSBytes, _, err = target.memory(); err != nil {
			return fmt.Errorf("the measured process: %w", err)
		}
	}
	return nil
}

// print writes the result for people.
func (r *relayResult) print(w io.Writer) {
	fmt.Fprintf(w, "relay %s: %d pairs, packets of %d bytes, window %d, %.1f s\n", r.URL, r.Pairs, r.PacketSize, r.Window, r.Seconds)
	fmt.Fprintf(w, "  throughput      %.3f Gbit/s, %.0f packets/s, %.2f%% lost\n", r.Gbps, r.PacketsPerSecond, r.LossPercent)
	if r.RelayCPUPerGB > 0 {
		fmt.Fprintf(w, "  relay           %.2f CPU s/GB, %.1f MiB resident\n", r.RelayCPUPerGB, float64(r.RelayRSSBytes)/(1<<20))
	}
	fmt.Fprintf(w, "  generator       %.2f CPU s/GB (both clients of all pairs)\n", r.GeneratorCPUPerGB)
	if r.IdleRoundTrip.Samples > 0 {
		fmt.Fprintf(w, "  idle round trip p50 %.3f ms, p99 %.3f ms\n", r.IdleRoundTrip.P50, r.IdleRoundTrip.P99)
	}
	fmt.Fprintf(w, "  loaded one way  p50 %.3f ms, p99 %.3f ms\n", r.LoadedOneWay.P50, r.LoadedOneWay.P99)
}

// result is what a subcommand found.
type result interface{ print(io.Writer) }

// printResult writes a result in the form asked for.
func printResult(w io.Writer, asJSON bool, r result) error {
	if !asJSON {
		r.print(w)
		return nil
	}
	text, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(w, "%s\n", text)
	return err
}
