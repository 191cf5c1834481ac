package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/ginnel/ginnel/server/control/controltest"
	"github.com/ginnel/ginnel/wire/control"
)

// Bounds of a run.
const (
	maxNodes   = 20000
	maxChanges = 50000
)

// fleet is the simulated nodes.
type fleet struct {
	c       *controlConfig
	nodes   []*simNode
	changes []change // all of a run, made before it starts
	lost    atomic.Int64
}

// simNode is one simulated node.
type simNode struct {
	client *controltest.Client
	stream *controltest.Stream
	joined time.Duration // from registering to the first map
}

// change is one change of one node, and who has heard of it.
type change struct {
	node  int
	start time.Time

	mu    sync.Mutex
	heard []bool // by node; made with the change
	told  []time.Duration
}

// marker tells changes apart in what nodes are told: it is part of the new address
// or name, and of nothing else. It starts every number with an address that is set
// aside for benchmarks.
const (
	markerPrefix = "198.18.0.1:"
	markerName   = "bench-change-"
	markerPort   = 10000 // all ports have five digits
)

// benchControl runs the measurement.
func benchControl(ctx context.Context, c *controlConfig) (*controlResult, error) {
	target, err := openProcess(c.pid)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	res := &controlResult{URL: c.url, Nodes: c.nodes, Change: c.change}
	f := &fleet{c: c, changes: make([]change, int(c.rate*c.duration.Seconds()))}
	defer f.close()
	if target != nil {
		if res.ServerRSSBefore, _, err = target.memory(); err != nil {
			return nil, fmt.Errorf("the measured process: %w", err)
		}
	}
	if err := f.measureJoins(ctx, target, res); err != nil {
		return nil, err
	}
	if len(f.changes) > 0 {
		if err := f.measureChurn(ctx, target, res); err != nil {
			return nil, err
		}
	}
	res.Lost = int(f.lost.Load())
	if target != nil {
		if res.ServerRSS, res.ServerRSSPeak, err = target.memory(); err != nil {
			return nil, fmt.Errorf("the measured process: %w", err)
		}
		res.ServerRSSPerNode = max(0, res.ServerRSS-res.ServerRSSBefore) / int64(c.nodes)
	}
	own, err := ownCPU()
	res.GeneratorCPU = own.Seconds()
	return res, err
}

// close ends all streams.
func (f *fleet) close() {
	for _, n := range f.nodes {
		if n != nil {
			n.stream.Close()
			n.client.Close()
		}
	}
}

// measureJoins joins all nodes and leaves their streams open and read.
func (f *fleet) measureJoins(ctx context.Context, target *process, res *controlResult) error {
	m, err := startMeter(target)
	if err != nil {
		return err
	}
	server, err := controltest.FetchKey(ctx, f.c.url)
	if err != nil {
		return fmt.Errorf("%s: %w", f.c.url, err)
	}
	f.nodes = make([]*simNode, f.c.nodes)
	start := time.Now()
	joinCtx, cancel := context.WithTimeout(ctx, f.c.joinTimeout)
	defer cancel()
	g, joinCtx := errgroup.WithContext(joinCtx)
	g.SetLimit(f.c.joiners)
	for i := range f.nodes {
		g.Go(func() error {
			if err := joinCtx.Err(); err != nil {
				return err
			}
			n := &simNode{client: controltest.New(controltest.Options{URL: f.c.url, ServerKey: server,
				Hostinfo: &control.Hostinfo{OS: "linux", Hostname: fmt.Sprintf("bench-%05d", i), BackendLogID: "bench"}})}
			if err := n.join(joinCtx, ctx, f.c.authKey); err != nil {
				return fmt.Errorf("node %d: %w", i, err)
			}
			f.nodes[i] = n
			go f.listen(ctx, i)
			return n.introduce(joinCtx, i)
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	if err := f.awaitSeen(ctx); err != nil {
		return err
	}
	res.JoinSeconds = time.Since(start).Seconds()
	res.JoinsPerSecond = float64(len(f.nodes)) / res.JoinSeconds
	var ds []time.Duration
	for _, n := range f.nodes {
		ds = append(ds, n.joined)
	}
	res.FirstMap = summarise(ds)
	_, res.ServerCPUJoin, err = m.stop()
	return err
}

// join registers and waits for the first map. The stream lives as long as streamCtx.
func (n *simNode) join(ctx, streamCtx context.Context, authKey string) error {
	start := time.Now()
	if err := n.client.Join(ctx, authKey); err != nil {
		return err
	}
	stream, err := n.client.Poll(streamCtx)
	if err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, stream.Close)
	for {
		var full bool
		err := stream.Each(func(body []byte) error {
			full = bytes.Contains(body, []byte(`"Node":{`))
			return nil
		})
		if err != nil {
			stop()
			stream.Close()
			return fmt.Errorf("first map: %w", err)
		}
		if full {
			break
		}
	}
	n.joined = time.Since(start)
	if !stop() {
		return context.Cause(ctx)
	}
	n.stream = stream
	return nil
}

// introduce tells the server what any node tells when it has joined: where it is. Peers
// hear of a node with that.
func (n *simNode) introduce(ctx context.Context, i int) error {
	return n.client.Update(ctx, func(req *control.MapRequest) {
		h := *n.client.Hostinfo
		h.NetInfo = &control.NetInfo{PreferredDERP: 1, WorkingUDP: control.True}
		req.Hostinfo = &h
		req.Endpoints = []netip.AddrPort{netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}), 41641)}
	})
}

// awaitSeen waits until the first node's map has all others: the figures are of a
// network in which everybody sees everybody.
func (f *fleet) awaitSeen(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, f.c.joinTimeout)
	defer cancel()
	for {
		m, err := f.nodes[0].read(ctx)
		if err != nil {
			return fmt.Errorf("map of the first node: %w", err)
		}
		if len(m.Peers) >= len(f.nodes)-1 {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("the first node sees %d of %d others: %w", len(m.Peers), len(f.nodes)-1, context.Cause(ctx))
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// read fetches the node's whole map without disturbing its stream.
func (n *simNode) read(ctx context.Context) (*control.MapResponse, error) {
	req := n.client.MapRequest()
	req.ReadOnly = true
	s, err := n.client.Map(ctx, req)
	if err != nil {
		return nil, err
	}
	defer s.Close()
	return s.Next()
}

// listen reads the stream of a node and notes the changes that it is told of.
func (f *fleet) listen(ctx context.Context, self int) {
	for {
		err := f.nodes[self].stream.Each(func(body []byte) error {
			f.note(self, body, time.Now())
			return nil
		})
		if err != nil {
			if ctx.Err() == nil {
				f.lost.Add(1)
			}
			return
		}
	}
}

// note finds the changes that a frame tells of.
func (f *fleet) note(self int, body []byte, now time.Time) {
	prefix := []byte(markerPrefix)
	if f.c.change == changeRename {
		prefix = []byte(markerName)
	}
	last := -1
	for {
		at := bytes.Index(body, prefix)
		if at < 0 {
			return
		}
		body = body[at+len(prefix):]
		id, ok := parseMarker(body)
		if !ok || id >= len(f.changes) || id == last {
			continue
		}
		last = id // a name stands in several fields of one node
		ch := &f.changes[id]
		ch.mu.Lock()
		if ch.heard != nil && ch.node != self && !ch.heard[self] {
			ch.heard[self] = true
			ch.told = append(ch.told, now.Sub(ch.start))
		}
		ch.mu.Unlock()
	}
}

// parseMarker reads the number of a change, five digits at the start of b.
func parseMarker(b []byte) (id int, ok bool) {
	if len(b) < 5 {
		return 0, false
	}
	n, err := strconv.Atoi(string(b[:5]))
	return n - markerPort, err == nil && n >= markerPort
}

// apply makes change id of the node that it is for.
func (f *fleet) apply(ctx context.Context, id int) error {
	ch := &f.changes[id]
	n := f.nodes[ch.node]
	ch.mu.Lock()
	ch.start = time.Now()
	ch.heard = make([]bool, len(f.nodes))
	ch.mu.Unlock()
	return n.client.Update(ctx, func(req *control.MapRequest) {
		req.Stream = false
		if f.c.change == changeRename {
			h := *n.client.Hostinfo
			h.Hostname = markerName + strconv.Itoa(markerPort+id)
			req.Hostinfo = &h
			return
		}
		req.Endpoints = []netip.AddrPort{netip.MustParseAddrPort(markerPrefix + strconv.Itoa(markerPort+id))}
	})
}

// measureChurn changes nodes at the rate asked for and waits for the last news.
func (f *fleet) measureChurn(ctx context.Context, target *process, res *controlResult) error {
	m, err := startMeter(target)
	if err != nil {
		return err
	}
	tick := time.NewTicker(time.Duration(float64(time.Second) / f.c.rate))
	defer tick.Stop()
	start := time.Now()
	g := new(errgroup.Group)
	for id := range f.changes {
		f.changes[id].node = id * 7919 % len(f.nodes) // spread over the nodes
		select {
		case <-tick.C:
		case <-ctx.Done():
			return errors.Join(ctx.Err(), g.Wait())
		}
		g.Go(func() error { return f.apply(ctx, id) })
	}
	if err := g.Wait(); err != nil {
		return err
	}
	elapsed := time.Since(start).Seconds()
	f.waitTold(ctx)
	if _, res.ServerCPUChurn, err = m.stop(); err != nil {
		return err
	}
	res.ServerCPUPercent = 100 * res.ServerCPUChurn / time.Since(start).Seconds()
	res.Changes, res.ChangesPerSecond = len(f.changes), float64(len(f.changes))/elapsed
	f.summariseChanges(res)
	return nil
}

// waitTold waits until all have heard of the last change, or long enough.
func (f *fleet) waitTold(ctx context.Context) {
	poll := time.NewTicker(20 * time.Millisecond)
	defer poll.Stop()
	for end := time.Now().Add(f.c.settle); time.Now().Before(end) && ctx.Err() == nil; <-poll.C {
		all := true
		for i := range f.changes {
			all = all && f.changes[i].count() >= len(f.nodes)-1
		}
		if all {
			return
		}
	}
}

// count is how many nodes have heard of the change.
func (ch *change) count() int {
	ch.mu.Lock()
	defer ch.mu.Unlock()
	return len(ch.told)
}

// summariseChanges fills in when nodes were told.
func (f *fleet) summariseChanges(res *controlResult) {
	var lasts []time.Duration
	var each reservoir
	for i := range f.changes {
		ch := &f.changes[i]
		ch.mu.Lock()
		var last time.Duration
		for _, d := range ch.told {
			each.add(d)
			last = max(last, d)
		}
		if len(ch.told) >= len(f.nodes)-1 {
			res.FullyTold++
			lasts = append(lasts, last)
		}
		ch.mu.Unlock()
	}
	res.ToldLast, res.ToldEach = summarise(lasts), summarise(each.ds)
}
